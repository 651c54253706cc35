"""The files with the service's secrets, and which of them every user of this machine can read."""

import logging
import os
from pathlib import Path

from django.conf import settings

from connections.core.private_files import is_open_to_everyone

logger = logging.getLogger(__name__)

_SETTINGS = (
    "SECRET_KEY_FILE",
    "KEYRING_FILE",
    "SIGNING_KEY_FILE",
    "WEBHOOK_SECRET_FILE",
    "OIDC_SECRET_FILE",
    "METRICS_TOKEN_FILE",
)
# Of these, the setting is the secret itself.
_VARIABLES = (
    "DATABASE_URL_FILE",
    "EMAIL_URL_FILE",
    "ORGADMIN_HTTP_PROXY_FILE",
    "ORGADMIN_SLACK_URL_FILE",
    "ORGADMIN_WEBHOOK_URL_FILE",
)
EXPOSED_FILES_HINT = "Restrict them to the service's user or group."


def describe_exposed_files() -> str:
    """Which of the files every user of this machine can read; "" if none of them."""
    values = [getattr(settings, name) for name in _SETTINGS] + [*map(os.environ.get, _VARIABLES)]
    names = [str(value) for value in values if value and is_open_to_everyone(Path(value))]
    return f"every user of this machine can read {', '.join(names)}" if names else ""


def log_exposed_files() -> None:
    """Log one warning about all of them. Called once for each start of the service."""
    problem = describe_exposed_files()
    if problem:
        logger.warning("Secrets: %s. %s", problem, EXPOSED_FILES_HINT)
