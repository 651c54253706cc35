"""How the page of a deletion looks for news by itself, and what counts as news."""

import hashlib
from datetime import datetime, timedelta

from connections.deletions import states
from connections.models import Deletion, Outcome, State

# What happens by itself is looked for only while it is about to happen.
SOON = timedelta(minutes=2)
# What waits for people: how often it is looked at, by how long nobody did anything.
BACK_OFF = (
    (timedelta(minutes=2), 5),
    (timedelta(minutes=15), 15),
    (timedelta(hours=2), 60),
    (timedelta.max, 300),
)


def poll_interval(deletion: Deletion, *, now: datetime) -> int | None:
    """How often the page looks for news by itself; None when none can come soon.

    What waits for people is looked at less and less often, the longer nobody did anything.
    """
    if _is_moving(deletion, now=now):
        return 2
    if deletion.state not in {State.REQUESTED, State.APPROVED}:
        return None
    times = (deletion.requested_at, deletion.approved_at, deletion.confirmed_at)
    idle = now - max(at for at in times if at)
    return next(seconds for limit, seconds in BACK_OFF if idle < limit)


def _is_moving(deletion: Deletion, *, now: datetime) -> bool:
    if deletion.state == State.SENDING or states.is_being_rechecked(deletion, now=now):
        return True
    is_watched = deletion.state in {State.WAITING, State.UNKNOWN} or (
        deletion.outcome == Outcome.DELETED and not deletion.verified_at
    )
    return is_watched and deletion.due_at is not None and abs(deletion.due_at - now) < SOON


def state_version(deletion: Deletion, *, now: datetime) -> str:
    """Changes whenever what is shown of a deletion does."""
    parts = (
        deletion.state,
        deletion.outcome,
        deletion.cause,
        deletion.epoch,
        deletion.confirmed_at,
        deletion.due_at,
        deletion.last_checked_at,
        deletion.verified_at,
        deletion.contradicted_at,
        [attempt.number for attempt in deletion.attempts.all() if attempt.is_late],
        [approval.pk for approval in deletion.approvals.all()],
        deletion.approval_round,
        deletion.break_glass_at,
        getattr(deletion, "break_glass_review", None) is not None,
        _is_moving(deletion, now=now),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
