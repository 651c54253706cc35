"""SECRET_KEY: given, read from a file, or made on first use."""

import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from connections.core.private_files import (
    PrivateFileError,
    create_private_text_once,
    read_private_text,
)


def load_secret_key(*, given: str, named: str, make_at: Path | None) -> str:
    """The key itself, that in the named file, or the one at `make_at`, made on first use.

    Raises ImproperlyConfigured with what to do when there is none and none may be made.
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
        "Set SECRET_KEY or SECRET_KEY_FILE. With PostgreSQL it is never made by itself, because "
        "every process must share one: run `./run manage make_keys --output DIR` once."
    )
