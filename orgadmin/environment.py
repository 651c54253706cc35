"""Builds LOGGING, MAILERS and SECRET_KEY from environment variables, for settings.py."""

import secrets
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from connections.core.private_files import (
    PrivateFileError,
    create_private_text_once,
    read_private_text,
)


def build_logging(*, level: str) -> dict[str, Any]:
    """Django's LOGGING: one line on standard error for each record.

    `level` is ORGADMIN_LOG_LEVEL; "" means INFO for our loggers and WARNING for others.
    """
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
            # With DEBUG, Django's default handlers would write each record twice.
            "django": {"handlers": []},
            # At DEBUG it would log a webhook's path, which might be secret.
            "urllib3": {"level": "INFO"},
            # At INFO it would log paths.
            "waitress": {"level": "WARNING"},
            "waitress.queue": {"level": "ERROR"},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }


def build_mailers(mail: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Django's MAILERS from EMAIL_URL. For SMTP it uses our backend, which has a deadline."""
    if mail["EMAIL_BACKEND"] != "django.core.mail.backends.smtp.EmailBackend":
        return {"default": {"BACKEND": mail["EMAIL_BACKEND"]}}
    options = {
        "host": mail["EMAIL_HOST"],
        "port": mail["EMAIL_PORT"],
        "username": mail["EMAIL_HOST_USER"],
        "password": mail["EMAIL_HOST_PASSWORD"],
        "use_tls": mail["EMAIL_USE_TLS"],
        "use_ssl": mail["EMAIL_USE_SSL"],
        "timeout": 10,
    }
    return {
        "default": {
            "BACKEND": "connections.notifications.email_backend.EmailBackend",
            "OPTIONS": options,
        }
    }


def load_secret_key(*, given: str, named: str, make_at: Path | None) -> str:
    """The given key, the one in the named file, or the one at `make_at`, created on first use.

    Raises ImproperlyConfigured when there is none and `make_at` is None.
    """
    if given:
        return given
    try:
        if named:
            return read_private_text(Path(named)).strip()
        if make_at:
            return create_private_text_once(make_at, lambda: secrets.token_urlsafe(50)).strip()
    except PrivateFileError as error:
        raise ImproperlyConfigured(str(error)) from None
    raise ImproperlyConfigured(
        "Set SECRET_KEY or SECRET_KEY_FILE. With PostgreSQL it isn't created automatically, "
        "because all processes must share it. Run `./run manage make_keys --output DIR` once."
    )
