"""Sessions of browsers."""

from typing import Any

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.crypto import salted_hmac


def hash_of_session_key(session_key: str) -> str:
    """What is stored in place of a session key, the value of the browser's cookie.

    Keyed with SECRET_KEY: whoever reads the table, or a copy of it, can't sign in with it.
    """
    return salted_hmac("connections.session_key", session_key, algorithm="sha256").hexdigest()


class PersonSession(AbstractBaseSession):
    """One browser's session; nobody's until somebody signs in."""

    # The key itself, which AbstractBaseSession would store, is in the browser's cookie alone.
    session_key = None  # type: ignore[assignment]
    key_hash = models.CharField(max_length=64, primary_key=True)
    # No foreign key: a session from a backup may name somebody who is not there.
    person_id = models.UUIDField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"session {self.public_id[:8]}"

    @property
    def public_id(self) -> str:
        """What stands for it in a page, which need not show the hash either."""
        return public_id_of(self.key_hash)

    @classmethod
    def get_session_store_class(cls) -> Any:
        """The store that reads and writes it."""
        # The store imports this model.
        from connections.models.session_store import SessionStore

        return SessionStore


def public_id_of(key_hash: str) -> str:
    """An id from which the stored hash cannot be found."""
    return salted_hmac("connections.PersonSession", key_hash, algorithm="sha256").hexdigest()[:32]
