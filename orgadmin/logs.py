"""Django's LOGGING: one line on standard error for each record."""

from typing import Any


def build_logging(*, level: str) -> dict[str, Any]:
    """`level` as ORGADMIN_LOG_LEVEL has it; "" stands for INFO of our own and WARNING of others."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level or "WARNING"},
        "loggers": {
            "connections": {"level": level or "INFO"},
            # Django's own handlers would write each record a second time while DEBUG is on.
            "django": {"handlers": []},
            # It would log the path of a webhook, which may be a secret of its own.
            "urllib3": {"level": "INFO"},
            # At INFO it would log paths; whether requests wait for a thread, it says at WARNING.
            "waitress": {"level": "WARNING"},
            "waitress.queue": {"level": "ERROR"},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }
