"""Stops what changes access while the database's clock is behind what it recorded before.

Deadlines, the time between two lists and the order of syncs all depend on that clock. So nothing is
confirmed, claimed or ended until it has caught up with the newest event.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, QuerySet, Subquery
from django.db.models.functions import Coalesce

from connections.core import clock
from connections.core.errors import ClockBehindError
from connections.core.text import format_time
from connections.models import AuditEvent, EventCode


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """The database's time, and the time of the newest event. None if there is no event."""

    now: datetime
    newest_event_at: datetime | None

    @property
    def behind(self) -> timedelta:
        """How far the clock is behind the newest event. Zero within the tolerance."""
        if self.newest_event_at and clock.is_ahead(self.newest_event_at, now=self.now):
            return self.newest_event_at - self.now
        return timedelta()

    @property
    def problem(self) -> str:
        """That the clock is behind, in a sentence. "" if it is not."""
        if not self.behind:
            return ""
        return (
            f"The database server's clock says {format_time(self.now)}, but the newest event was "
            f"recorded at {format_time(self.newest_event_at)}."
        )

    @property
    def explanation(self) -> str:
        """`problem`, what it stops and what to do."""
        return (
            f"{self.problem} Until that clock is right, nothing is confirmed, sent or ended. An "
            "administrator corrects it or, if it is right now, releases the hold at /hold/."
        )

    def require_right(self) -> datetime:
        """The database's time. Raises ClockBehindError if it is behind."""
        if self.behind:
            raise ClockBehindError(f"Nothing was sent. {self.explanation}")
        return self.now


def read_clock() -> ClockReading:
    """Read the clock, and the newest event with it. Raises DatabaseError."""
    newest = _newest_events().values(newest_event_at=F("at"), now=clock.now_in_query()).first()
    return ClockReading(**newest or {"now": clock.now(), "newest_event_at": None})


def require_right_clock() -> datetime:
    """The database's time. Raises ClockBehindError if it is behind, and DatabaseError."""
    return read_clock().require_right()


def newest_event_time() -> Subquery:
    """The newest time of an event, for a query that runs anyway."""
    return Subquery(_newest_events().values("at")[:1])


def _newest_events() -> QuerySet[AuditEvent]:
    # By their time, which has an index. Those recorded last don't count if the clock was behind.
    since = Coalesce(Subquery(_releases().values("seq")[:1]), 0)
    # A sum, so that the database doesn't read them by their number and sort them by their time.
    numbered = AuditEvent.objects.alias(number=F("seq") + 0)
    return numbered.filter(number__gte=since).order_by("-at")


def _releases() -> QuerySet[AuditEvent]:
    """The releases of this guard, newest first. Those of a hold have it as their subject."""
    return AuditEvent.objects.filter(code=EventCode.SERVICE_RELEASED, subject_id="")


def released_details(reading: ClockReading) -> dict[str, str]:
    """The details of the event of a release: both times."""
    newest_event_at = reading.newest_event_at or reading.now
    return {"now": reading.now.isoformat(), "newest_event_at": newest_event_at.isoformat()}


def happened_by(at: datetime, *, now: datetime) -> datetime:
    """A time by which what was recorded at `at` had certainly happened, by the current clock.

    If `at` is in the future, that is the release from which the current clock counts, or now.
    """
    release = _releases().first() if clock.is_ahead(at, now=now) else None
    if release and at <= datetime.fromisoformat(release.details["newest_event_at"]):
        return min(release.at, now)
    return min(at, now)
