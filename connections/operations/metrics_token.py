"""The token that lets monitoring read /metrics without signing in."""

import logging
import secrets
from pathlib import Path

from django.conf import settings

from connections.core.private_files import PrivateFileError, read_private_text
from connections.core.secret import Secret

logger = logging.getLogger(__name__)

# Too long to guess, because attempts are not limited.
MIN_LENGTH = 32


def load_token() -> Secret | None:
    """The token, or None if none is configured. Raises PrivateFileError, without the token."""
    if not settings.METRICS_TOKEN_FILE:
        return None
    path = Path(settings.METRICS_TOKEN_FILE)
    text = read_private_text(path).strip()
    if len(text) < MIN_LENGTH:
        raise PrivateFileError(f"{path} must contain {MIN_LENGTH} characters or more.")
    return Secret(text)


def is_valid_header(header: str) -> bool:
    """Whether an Authorization header has the token. Compares in constant time."""
    try:
        token = load_token()
    except PrivateFileError as error:
        logger.error("/metrics isn't available with the token. %s", error)  # noqa: TRY400 - its text is all
        return False
    scheme, _, header_token = header.partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return secrets.compare_digest(header_token.strip().encode(), token.reveal().encode())
