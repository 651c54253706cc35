"""Where sessions are kept: Django's own way, with whose each one is beside it.

The row is the session itself, so that nothing of it is left once it ends: not the network address,
not the browser.
"""

from typing import Any
from uuid import UUID

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db

from connections.models import PersonSession


class SessionStore(db.SessionStore):
    """Sessions in the database, found by person."""

    @classmethod
    def get_model_class(cls) -> type[PersonSession]:
        """The table of sessions."""
        return PersonSession

    def create_model_instance(self, data: dict[str, Any]) -> PersonSession:
        """The row for what is in the session now."""
        row: PersonSession = super().create_model_instance(data)  # type: ignore[assignment]
        row.person_id = UUID(data[SESSION_KEY]) if SESSION_KEY in data else None
        return row
