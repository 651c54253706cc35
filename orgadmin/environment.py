"""Reads environment variables and builds LOGGING and SECRET_KEY, for settings.py."""

import logging
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import dj_email_url
from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from connections.core import private_files
from connections.core.logs import make_handler


def read_flag(name: str, *, default: bool) -> bool:
    """The variable as a boolean. Raises ImproperlyConfigured for anything else."""
    text = os.environ.get(name)
    if text is None:
        return default
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false.")


def read_integer(name: str, *, default: int, minimum: int, maximum: int | None = None) -> int:
    """The variable as an integer. Raises ImproperlyConfigured for anything else."""
    try:
        number = int(os.environ.get(name, default))
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number.") from None
    if number < minimum:
        raise ImproperlyConfigured(f"{name} must be {minimum} or more.")
    if maximum is not None and number > maximum:
        raise ImproperlyConfigured(f"{name} must be {maximum} or less.")
    return number


def read_secret(name: str, *, default: str = "") -> str:
    """The variable, or the text of the private file that the variable `NAME_FILE` names.

    Raises ImproperlyConfigured if both are set or the file can't be used.
    """
    path = os.environ.get(f"{name}_FILE", "")
    if not path:
        return os.environ.get(name, default)
    if os.environ.get(name):
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set. Unset one of them.")
    try:
        text = private_files.read_private_text(path).strip()
    except private_files.PrivateFileError as error:
        raise ImproperlyConfigured(f"{name}_FILE: {error}") from None
    if not text:
        raise ImproperlyConfigured(f"{name}_FILE: {path} is empty. Put the value into it.")
    return text


def read_checked[Value](
    name: str, check: Callable[[str], Value], *, text: str | None = None
) -> Value:
    """What `check` returns for the variable, or for `text` if that was read already.

    Its ValueError becomes ImproperlyConfigured.
    """
    try:
        return check(os.environ.get(name, "") if text is None else text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def read_list(name: str, *, default: str = "") -> list[str]:
    """The variable's comma-separated parts. Empty if the variable is."""
    parts = os.environ.get(name, default).split(",")
    return [part.strip() for part in parts if part.strip()]


def parse_database_url(url: str) -> dict[str, Any]:
    """Django's settings for the database. Raises ImproperlyConfigured for an invalid URL."""
    try:
        return {**dj_database_url.parse(url)}
    except ValueError:
        # The message doesn't contain the URL, which can contain a password.
        raise ImproperlyConfigured(
            "DATABASE_URL isn't a valid database URL, such as postgres://user:password@host/name."
        ) from None


def build_logging(*, level: str) -> dict[str, Any]:
    """Django's LOGGING: one record per line of standard error.

    `level` is ORGADMIN_LOG_LEVEL. "" means INFO for Org Admin's loggers and WARNING for others.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "without_traceback": {"()": lambda: _drop_traceback},
            "refusals": {"()": lambda: _drop_traceback_of_refusal},
        },
        "handlers": {"stderr": {"()": make_handler}},
        "root": {"handlers": ["stderr"], "level": level or "WARNING"},
        "loggers": {
            "connections": {"level": level or "INFO"},
            # With DEBUG, Django's default handlers would write each record twice.
            "django": {"handlers": []},
            # Port scanners send wrong host names, and the message names the host.
            "django.security.DisallowedHost": {"filters": ["without_traceback"]},
            "django.request": {"filters": ["refusals"]},
            # At DEBUG, it would log a webhook's path, which might be secret.
            "urllib3": {"level": "INFO"},
            # At INFO, it would log paths.
            "waitress": {"level": "WARNING"},
            "waitress.queue": {"level": "ERROR"},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }


def _drop_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _drop_traceback_of_refusal(record: logging.LogRecord) -> bool:
    """A page that someone's role doesn't open is no fault."""
    if record.exc_info and isinstance(record.exc_info[1], PermissionDenied):
        record.exc_info = None
    return True


def parse_email_url(url: str) -> dict[str, Any]:
    """Django's settings for a mailer. SMTP uses Org Admin's backend, which has a deadline.

    Raises ImproperlyConfigured for an invalid URL.
    """
    try:
        # By smtps, dj_email_url means STARTTLS.
        mail = dj_email_url.parse(url.replace("smtps://", "submission://", 1))
        if url.startswith("smtps://"):
            port = urlsplit(url).port or 465
            mail |= {"EMAIL_PORT": port, "EMAIL_USE_SSL": True, "EMAIL_USE_TLS": False}
        backend = mail["EMAIL_BACKEND"]
    except (ValueError, KeyError):
        # The message doesn't contain the URL, which can contain a password.
        raise ImproperlyConfigured(
            "EMAIL_URL isn't a valid email URL, such as submission://user:password@host:587."
        ) from None
    if backend != "django.core.mail.backends.smtp.EmailBackend":
        return {"BACKEND": backend}
    return {
        "BACKEND": "connections.notifications.email_backend.EmailBackend",
        "OPTIONS": {
            "host": mail["EMAIL_HOST"],
            "port": mail["EMAIL_PORT"],
            "username": mail["EMAIL_HOST_USER"],
            "password": mail["EMAIL_HOST_PASSWORD"],
            "use_tls": mail["EMAIL_USE_TLS"],
            "use_ssl": mail["EMAIL_USE_SSL"],
            "timeout": 10,
        },
    }


def require_database_for_checks(path: Path) -> None:
    """Raise ImproperlyConfigured if this command only checks, but there is no database at `path`.

    Otherwise it would create one there, and find it too old.
    """
    is_check = sys.argv[1:2] == ["doctor"] or (
        sys.argv[1:2] == ["worker"] and "--check" in sys.argv
    )
    if is_check and not (path.is_file() and path.stat().st_size):
        raise ImproperlyConfigured(
            f"There is no database at {path}. Set ORGADMIN_DATA_DIR, DATABASE_URL or "
            "ORGADMIN_ENV_FILE as for the service, or start it: ./run serve creates the database."
        )


def create_secret_key(path: Path | None) -> str:
    """The key in the file at `path`, which is created on first use.

    Raises ImproperlyConfigured if `path` is None.
    """
    if path is None:
        raise ImproperlyConfigured(
            "Set SECRET_KEY or SECRET_KEY_FILE. With PostgreSQL it isn't created automatically, "
            "because all processes must share it. Run `./run manage make_keys --output DIR` once."
        )
    try:
        return private_files.create_private_text_once(
            path, lambda: secrets.token_urlsafe(50)
        ).strip()
    except private_files.PrivateFileError as error:
        raise ImproperlyConfigured(str(error)) from None
