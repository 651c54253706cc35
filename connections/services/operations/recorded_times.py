"""Whether the record holds times that are still to come: the clock was wrong then, or is now."""

from datetime import datetime

from django.db.models import Max

from connections import clock
from connections.models import AuditEvent, WorkerHeartbeat


def find_time_ahead(*, now: datetime) -> datetime | None:
    """The newest recorded time if it lies in the future by the database's clock, else None.

    Two reads off an index. Raises what the database raises.
    """
    newest = [
        AuditEvent.objects.aggregate(newest=Max("at"))["newest"],
        WorkerHeartbeat.objects.aggregate(newest=Max("seen_at"))["newest"],
    ]
    ahead = [at for at in newest if at and clock.is_ahead(at, now=now)]
    return max(ahead, default=None)
