"""Lets work go on although the database's clock is behind the newest event.

`change_requests/guards.py` says what is stopped until then.
"""

from datetime import datetime

from django.db.models import Model, Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.change_requests import guards
from connections.core import time_limits
from connections.core.text import format_time
from connections.models import (
    GAVE_ACCESS,
    AccessRequest,
    Batch,
    ChangeRequest,
    Credential,
    Deletion,
    KnownConnection,
    Notification,
    Org,
    OrgConnectionSnapshot,
    OrgRateLimit,
    PeriodicTask,
    State,
    Sync,
    WorkerHeartbeat,
)

# Times that say when something is due again, or what is newest, in the order in which others lock
# the rows. Nothing would be done, and nothing could be newer, until they have passed.
_TIMES: dict[type[Model], tuple[str, ...]] = {
    Credential: ("sync_due_at", "key_check_due_at"),
    OrgConnectionSnapshot: ("first_seen_at", "last_seen_at"),
    Deletion: ("last_checked_at",),
    AccessRequest: ("last_checked_at",),
    Sync: ("started_at", "finished_at"),
    KnownConnection: ("established_at", "last_shown_at", "lost_at"),
    Org: ("first_seen_at", "established_at"),
    OrgRateLimit: ("observed_at", "resets_at"),
    Notification: ("due_at", "answered_at"),
    PeriodicTask: ("due_at",),
    WorkerHeartbeat: ("seen_at",),
}
_KINDS: tuple[type[ChangeRequest], ...] = (Deletion, AccessRequest)


def release_clock(*, actor: Actor) -> bool:
    """From now on, only events recorded from now on tell whether the clock is behind.

    What was to be done at a time in the future is done now. Return False if the clock isn't behind.
    Call it in a transaction. Raises PermissionDenied.
    """
    permissions.require(permissions.can_administer(actor), "release a hold")
    reading = guards.read_clock()
    if not reading.behind:
        return False
    for model, fields in _TIMES.items():
        for field in fields:
            rows = model._default_manager.filter(**{f"{field}__gt": reading.now})
            rows.update(**{field: reading.now})
    _end_windows(now=reading.now)
    audit.record(
        code=EventCode.SERVICE_RELEASED,
        actor=actor,
        sentence=audit.Sentence(
            "{actor} let work go on with a clock that is behind: the database server's clock said "
            "{now}, the newest event was recorded at {newest}.",
            now=format_time(reading.now),
            newest=format_time(reading.newest_event_at),
        ),
        details=guards.released_details(reading),
    )
    return True


def _end_windows(*, now: datetime) -> None:
    """End what a wrong clock gave more time than is ever given, and do what else is due now."""
    # A worker handles each of these again, and finds its day.
    is_early = Q(end_due_at__gt=now) | Q(end_due_at=None, ends_on__gte=now.date())
    AccessRequest.objects.filter(GAVE_ACCESS, is_early).update(end_due_at=now)
    Batch.objects.filter(expires_at__gt=now + time_limits.LONGEST_WINDOW).update(expires_at=now)
    is_too_late = Q(expires_at__gt=now + time_limits.LONGEST_WINDOW)
    is_too_late |= Q(
        state=State.WAITING, epoch__gt=0, expires_at__gt=now + time_limits.SENDING_WINDOW
    )
    for kind in _KINDS:
        rows = kind._default_manager.filter(settled_at=None)
        rows.filter(is_too_late).update(expires_at=now)
        due = kind._default_manager.filter(due_at__gt=now)
        # These wait for people, until their time has passed.
        due.exclude(state__in=[State.REQUESTED, State.APPROVED], expires_at__gt=now).update(
            due_at=now
        )
