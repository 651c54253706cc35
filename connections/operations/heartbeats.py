"""Whether a worker is alive, as far as the database can tell."""

from datetime import datetime, timedelta

from django.db.models import Q

from connections.core import clock
from connections.models import WorkerHeartbeat

# A worker says so this often while it works; one thing that it does may take a minute or two.
BEAT_EVERY = timedelta(seconds=10)
ALIVE_WITHIN = timedelta(minutes=3)
# What a killed worker left behind is kept this long.
FORGOTTEN_AFTER = timedelta(days=1)


def beat(*, name: str, host: str, process_id: int) -> None:
    """Say that this worker is alive. Raises what the database raises."""
    now = clock.now()
    if WorkerHeartbeat.objects.filter(name=name).update(seen_at=now):
        return
    is_old = Q(seen_at__lt=now - FORGOTTEN_AFTER)
    # A living worker renews such a row within seconds; a dead one's would hide all the others.
    is_ahead = Q(seen_at__gt=now + clock.TOLERANCE)
    WorkerHeartbeat.objects.filter(is_old | is_ahead).delete()
    WorkerHeartbeat.objects.create(
        name=name, host=host, process_id=process_id, started_at=now, seen_at=now
    )


def end(*, name: str) -> None:
    """Say that this worker ends in order. Raises what the database raises."""
    WorkerHeartbeat.objects.filter(name=name).delete()


def last_seen_at() -> datetime | None:
    """When a worker that has not ended in order was last heard of; None when there is none."""
    return WorkerHeartbeat.objects.values_list("seen_at", flat=True).first()


def is_alive(seen_at: datetime | None, *, now: datetime) -> bool:
    """Whether a worker heard of at that time counts as running."""
    return seen_at is not None and clock.elapsed_since(seen_at, now=now) <= ALIVE_WITHIN
