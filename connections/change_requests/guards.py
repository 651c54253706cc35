"""What keeps requests from being sent: a hold, and a database clock that is behind.

A hold keeps back everything that no person has confirmed since it was put on. `operations/holds.py`
puts holds on and releases them. Whatever starts work that can change something at Datadog without
a person asks `find_hold` first, and `sending.claim` asks again in the transaction that claims.

While the clock is behind what was recorded before, nothing is confirmed, claimed or ended: all
deadlines, the time between two lists and the order of syncs depend on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import ClockBehindError
from connections.core.text import format_time
from connections.models import AuditEvent, ChangeRequest, EventCode, Hold, State


def find_hold() -> Hold | None:
    """The newest hold that is on, or None."""
    return Hold.objects.filter(released_at=None).first()


def leave_out_held[R: ChangeRequest](change_requests: Sequence[R], *, actor: Actor) -> list[R]:
    """Those of these requests that the actor can send although a hold might be on.

    What a person confirms while it is on is sent once: a request by the process that they use, the
    rows of a bulk deletion also by a worker.
    """
    hold = find_hold()
    return [each for each in change_requests if not (hold and _is_held(each, hold, actor=actor))]


def _is_held(change_request: ChangeRequest, hold: Hold, *, actor: Actor) -> bool:
    if actor.kind == "worker" and not change_request.is_run_by_batch:
        return True
    confirmed_at = change_request.confirmed_at
    if confirmed_at is None or confirmed_at <= hold.put_on_at:
        return True
    return change_request.state == State.WAITING and change_request.step_attempts.exists()


def is_row_held() -> Q:
    """Whether a hold keeps the row of a bulk deletion from being sent, as in `leave_out_held`."""
    hold = find_hold()
    if hold is None:
        return Q(pk__in=[])
    return ~Q(epoch=0, confirmed_at__gt=hold.put_on_at)


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
