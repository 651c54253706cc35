"""Django's MAILERS from what EMAIL_URL says."""

from typing import Any


def build_mailers(mail: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The one mailer; over SMTP it is ours, which ends in time."""
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
