"""Browser sessions: the table and its store."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac

from connections.core import clock


def hash_of_session_key(session_key: str) -> str:
    """The hash stored instead of a session key, which is the value of the browser's cookie.

    Keyed with SECRET_KEY, so that nobody can sign in with what the table contains.
    """
    return salted_hmac("connections.session_key", session_key, algorithm="sha256").hexdigest()


class PersonSession(AbstractBaseSession):
    """One browser's session, which has no person until sign-in."""

    # AbstractBaseSession would store the key itself, which only the browser's cookie should
    # contain.
    session_key = None  # type: ignore[assignment]
    key_hash = models.CharField(max_length=64, primary_key=True)
    # Not a foreign key, because a session from a backup can name a person who doesn't exist.
    person_id = models.UUIDField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"session {self.public_id[:8]}"

    @property
    def public_id(self) -> str:
        """The ID that pages use, so that they don't show the hash either."""
        return public_id_of(self.key_hash)

    @classmethod
    def get_session_store_class(cls) -> Any:
        """The session store that uses this table."""
        return SessionStore


def public_id_of(key_hash: str) -> str:
    """An ID from which the stored hash can't be computed."""
    return salted_hmac("connections.PersonSession", key_hash, algorithm="sha256").hexdigest()[:32]


# When the session ends even if it is used. Each sign-in sets it again.
ENDS_AT = "ends_at"
# A session's last use is stored at most this often.
_EXTENSION_INTERVAL = timedelta(minutes=1)


class SessionStore(db.SessionStore):
    """Stores sessions in the database, where they can be found by person."""

    @classmethod
    def get_model_class(cls) -> type[PersonSession]:
        """The table of sessions."""
        return PersonSession

    _expires_at: datetime | None = None
    # When the session was read, by the database's clock.
    read_at: datetime | None = None

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        # Django loads it while it handles an AttributeError, which every traceback of a lost
        # database would then begin with.
        if not (no_load or "_session_cache" in self.__dict__ or self.session_key is None):
            self.accessed = True
            self._session_cache = self.load()
        return super()._get_session(no_load)  # type: ignore[misc,no-any-return]

    _session = property(_get_session)

    # Overridden because Django's methods would store and look up the key itself.

    def _get_session_from_db(self) -> PersonSession | None:
        rows = _rows_with(self.session_key).filter(expire_date__gt=timezone.now())
        row = rows.annotate(now=clock.now_in_query()).first()
        if row and clock.is_ahead(row.expire_date - settings.SESSION_IDLE, now=timezone.now()):
            # It was last used while this machine's clock was ahead, so when is unknown.
            row = None
        if row is None:
            self._session_key = None
        self._expires_at = row.expire_date if row else None
        self.read_at = row.now if row else None
        return row

    def exists(self, session_key: str) -> bool:
        """Whether there is a session with this key."""
        return _rows_with(session_key).exists()

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, by default this session."""
        _rows_with(session_key or self.session_key).delete()

    def create_model_instance(self, data: dict[str, Any]) -> PersonSession:
        """The row for the current content of the session."""
        if SESSION_KEY in data:
            ends_at = timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE)
            data.setdefault(ENDS_AT, ends_at.isoformat())
        return PersonSession(
            key_hash=hash_of_session_key(self._get_or_create_session_key()),  # type: ignore[attr-defined]
            session_data=self.encode(data),
            expire_date=_expiry(data),
            person_id=UUID(data[SESSION_KEY]) if SESSION_KEY in data else None,
        )

    def extend(self) -> bool:
        """Extend the session from now, at most once a minute. Return whether it wrote."""
        if self.session_key is None or ENDS_AT not in self or self._expires_at is None:
            return False
        expires_at = _expiry(dict(self.items()))
        if expires_at - self._expires_at < _EXTENSION_INTERVAL:
            return False
        # An UPDATE, so that a session that was ended in the meantime stays ended.
        _rows_with(self.session_key).update(expire_date=expires_at)
        return True


def _rows_with(session_key: str | None) -> QuerySet[PersonSession]:
    """The row with this key, if there is one. None has no row."""
    key_hash = hash_of_session_key(session_key) if session_key else ""
    return PersonSession.objects.filter(pk=key_hash)


def _expiry(data: dict[str, Any]) -> datetime:
    idle_at: datetime = timezone.now() + settings.SESSION_IDLE
    return min(idle_at, datetime.fromisoformat(data[ENDS_AT])) if ENDS_AT in data else idle_at
