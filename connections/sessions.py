"""Where sessions are kept: Django's own way, with whose each one is beside it.

The row is the session itself, so that nothing of it is left once it ends: not the network address,
not the browser. It ends when nobody used it for SESSION_IDLE, and at the latest SESSION_COOKIE_AGE
after signing in.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from connections import clock
from connections.models import PersonSession

# When it ends, however much it is used; each signing in begins anew.
ENDS_AT = "ends_at"
# So exact is what is known of its use.
_NOTED_EVERY = timedelta(minutes=1)


class SessionStore(db.SessionStore):
    """Sessions in the database, found by person."""

    @classmethod
    def get_model_class(cls) -> type[PersonSession]:
        """The table of sessions."""
        return PersonSession

    _expires_at: datetime | None = None

    def _get_session_from_db(self) -> PersonSession | None:
        row: PersonSession | None = super()._get_session_from_db()  # type: ignore[misc]
        if row is not None and clock.has_passed(
            row.expire_date, within=settings.SESSION_IDLE, now=timezone.now()
        ):
            # Used last by a clock that was ahead: nobody knows how long ago.
            self._session_key, row = None, None
        self._expires_at = row.expire_date if row else None
        return row

    def create_model_instance(self, data: dict[str, Any]) -> PersonSession:
        """The row for what is in the session now."""
        if SESSION_KEY in data:
            ends_at = timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE)
            data.setdefault(ENDS_AT, ends_at.isoformat())
        row: PersonSession = super().create_model_instance(data)  # type: ignore[assignment]
        row.person_id = UUID(data[SESSION_KEY]) if SESSION_KEY in data else None
        row.expire_date = _expiry(data)
        return row

    def note_use(self) -> None:
        """Let it last on from now; writes at most once a minute."""
        if self.session_key is None or ENDS_AT not in self or self._expires_at is None:
            return
        expires_at = _expiry(dict(self.items()))
        if expires_at - self._expires_at >= _NOTED_EVERY:
            # One that was ended meanwhile stays so.
            PersonSession.objects.filter(pk=self.session_key).update(expire_date=expires_at)


def _expiry(data: dict[str, Any]) -> datetime:
    idle_at: datetime = timezone.now() + settings.SESSION_IDLE
    return min(idle_at, datetime.fromisoformat(data[ENDS_AT])) if ENDS_AT in data else idle_at


class SessionUseMiddleware:
    """Notes that somebody uses their session, which ends when nobody does.

    Whatever htmx GETs, the page asks for by itself: a page left open is no use of it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method != "GET" or "HX-Request" not in request.headers:
            request.session.note_use()  # type: ignore[attr-defined]
        return self.get_response(request)
