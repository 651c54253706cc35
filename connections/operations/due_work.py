"""What is due for a worker, read in one statement, and the claims of periodic tasks.

An idle worker runs only this statement.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, Q, QuerySet, Subquery

from connections.change_requests.guards import ClockReading, newest_event_time
from connections.core import clock
from connections.inventory import sync_schedule
from connections.models import (
    RUN_BY_BATCH,
    AccessRequest,
    Batch,
    BatchState,
    Deletion,
    Notification,
    PeriodicTask,
    State,
)

# The claim of a periodic task ends after this time, unless it is extended.
CLAIM_TIMEOUT = timedelta(minutes=1)
# What has been due for longer is late: no single task of a worker takes that long.
OVERDUE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class DueWork:
    """What was due at `now`. `next_at` is the earliest due time, past or future."""

    now: datetime
    # Deletions or access requests.
    has_requests: bool
    # Of access.
    has_ends: bool
    has_notifications: bool
    has_syncs: bool
    # As they were read, longest due first.
    tasks: tuple[PeriodicTask, ...]
    next_at: datetime
    clock: ClockReading


def read_due_work(*, intervals: dict[str, timedelta]) -> DueWork:
    """What is due now. `intervals` holds the periodic tasks. Raises DatabaseError."""
    rows = _read_tasks(intervals)
    if len(rows) < len(intervals):
        now = clock.now()
        new = (PeriodicTask(name=name, due_at=now) for name in intervals)
        PeriodicTask.objects.bulk_create(new, ignore_conflicts=True)
        rows = _read_tasks(intervals)
    first = rows[0]
    now, notification_at, sync_at = first["now"], first["notification_at"], first["sync_at"]
    end_at = first["end_at"]
    request_at = [at for at in (first["deletion_at"], first["access_request_at"]) if at]
    tasks = tuple(
        PeriodicTask(name=row["name"], due_at=row["due_at"]) for row in rows if row["due_at"] <= now
    )
    times = [*request_at, end_at, notification_at, sync_at, *(row["due_at"] for row in rows)]
    return DueWork(
        now=now,
        has_requests=first["is_batch_running"] or any(at <= now for at in request_at),
        has_ends=end_at is not None and end_at <= now,
        has_notifications=notification_at is not None and notification_at <= now,
        has_syncs=sync_at is not None and sync_at <= now,
        tasks=tasks,
        next_at=min(at for at in times if at),
        clock=ClockReading(now=now, newest_event_at=first["newest_event_at"]),
    )


def _read_tasks(names: Iterable[str]) -> list[Any]:
    """A dict of each of these tasks, with the earliest due time of each queue in every one."""
    # Other rows of a bulk deletion are due while it runs, or once it has ended.
    is_undecided = Q(state__in=[State.REQUESTED, State.APPROVED, State.WAITING])
    deletions = Deletion.objects.exclude(RUN_BY_BATCH & is_undecided, batch__ended_at=None)
    tasks = PeriodicTask.objects.filter(name__in=names).order_by("due_at", "name")
    rows = tasks.values(
        "name",
        "due_at",
        now=clock.now_in_query(),
        newest_event_at=newest_event_time(),
        deletion_at=_earliest(deletions, "due_at"),
        access_request_at=_earliest(AccessRequest.objects.all(), "due_at"),
        end_at=_earliest(AccessRequest.objects.all(), "end_due_at"),
        is_batch_running=Exists(Batch.objects.filter(ended_at=None, state=BatchState.RUNNING)),
        notification_at=_earliest(Notification.objects.all(), "due_at"),
        sync_at=_earliest(sync_schedule.scheduled(), "sync_due_at"),
    )
    return list(rows)


def _earliest(rows: QuerySet[Any, Any], field: str) -> Subquery:
    due = rows.filter(**{f"{field}__isnull": False})
    return Subquery(due.order_by(field).values(field)[:1])


def postpone(task: PeriodicTask, *, until: datetime) -> bool:
    """Move the task's due time, unless another process has moved it since it was read.

    Moving a due time that has passed claims the task; moving it again extends the claim or ends it.
    """
    as_read = PeriodicTask.objects.filter(pk=task.pk, due_at=task.due_at)
    is_moved = bool(as_read.update(due_at=until))
    if is_moved:
        task.due_at = until
    return is_moved
