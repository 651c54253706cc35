"""Sessions of browsers."""

from typing import Any

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.crypto import salted_hmac


class PersonSession(AbstractBaseSession):
    """One browser's session; nobody's until somebody signs in."""

    # No foreign key: a session from a backup may name somebody who is not there.
    person_id = models.UUIDField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"session {self.public_id[:8]}"

    @property
    def public_id(self) -> str:
        """What stands for it in a page: its key would let in whoever reads it."""
        return public_id_of(self.session_key)

    @classmethod
    def get_session_store_class(cls) -> Any:
        """The store that reads and writes it."""
        # The store imports this model.
        from connections.sessions import SessionStore

        return SessionStore


def public_id_of(session_key: str) -> str:
    """An id from which the session's key cannot be found."""
    return salted_hmac("connections.PersonSession", session_key, algorithm="sha256").hexdigest()[
        :32
    ]
