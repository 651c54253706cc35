"""The token by which a program reads /metrics without signing in."""

import logging
import secrets
from pathlib import Path

from django.conf import settings

from connections.core.private_files import PrivateFileError, read_private_text
from connections.core.secret import Secret

logger = logging.getLogger(__name__)

# So that nobody guesses it: there is no limit on trying.
SHORTEST = 32


class MetricsTokenError(Exception):
    """The token's file cannot be used; the text says why and never holds it."""


def load() -> Secret | None:
    """The token, or None where none is set. Raises MetricsTokenError."""
    if not settings.METRICS_TOKEN_FILE:
        return None
    path = Path(settings.METRICS_TOKEN_FILE)
    try:
        text = read_private_text(path).strip()
    except PrivateFileError as error:
        raise MetricsTokenError(str(error)) from None
    if len(text) < SHORTEST:
        raise MetricsTokenError(f"{path} must hold {SHORTEST} characters or more.")
    return Secret(text)


def matches(header: str) -> bool:
    """Whether an Authorization header bears the token. The time it takes tells nothing of it."""
    try:
        token = load()
    except MetricsTokenError as error:
        logger.error("Nobody can read /metrics by a token. %s", error)  # noqa: TRY400 - its text is all
        return False
    scheme, _, given = header.partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return secrets.compare_digest(given.strip().encode(), token.reveal().encode())
