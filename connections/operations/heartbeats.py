"""Heartbeats: which workers are running, and which commands are sending one bulk deletion."""

import logging
import os
import socket
import time
import uuid
from datetime import datetime, timedelta

from django.db import Error as DatabaseError

from connections.core import clock
from connections.models import Batch, WorkerHeartbeat

logger = logging.getLogger(__name__)

# How often a working process records a heartbeat. One task can take a minute or two.
INTERVAL = timedelta(seconds=10)
ALIVE_WITHIN = timedelta(minutes=3)
# How long the heartbeat of a killed process is kept.
KEPT_FOR = timedelta(days=1)


class Heartbeat:
    """The heartbeat of this process, which is a worker or a command that sends only `batch`."""

    def __init__(self, *, batch: Batch | None = None) -> None:
        self._host = this_host()
        self._name = f"{self._host}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._batch = batch
        self._next_at = time.monotonic()

    def record(self) -> None:
        """Record that this process is alive, if a heartbeat is due. Raises DatabaseError."""
        if time.monotonic() < self._next_at:
            return
        record_heartbeat(
            name=self._name, host=self._host, process_id=os.getpid(), batch=self._batch
        )
        self._next_at = time.monotonic() + INTERVAL.total_seconds()

    def remove(self) -> None:
        """Record that this process is ending normally."""
        try:
            remove_heartbeat(name=self._name)
        except DatabaseError:
            # It ends anyway, and its row is no longer renewed.
            logger.warning("The end of this process couldn't be recorded.", exc_info=True)


def record_heartbeat(*, name: str, host: str, process_id: int, batch: Batch | None = None) -> None:
    """Record that this process is alive. Raises DatabaseError."""
    if WorkerHeartbeat.objects.filter(name=name).update(seen_at=clock.now_in_query()):
        return
    now = clock.now()
    WorkerHeartbeat.objects.filter(seen_at__lt=now - KEPT_FOR).delete()
    WorkerHeartbeat.objects.create(
        name=name, host=host, process_id=process_id, batch=batch, started_at=now, seen_at=now
    )


def remove_heartbeat(*, name: str) -> None:
    """Record that this process stopped normally. Raises DatabaseError."""
    WorkerHeartbeat.objects.filter(name=name).delete()


def this_host() -> str:
    """The name of this machine or container in heartbeats."""
    return socket.gethostname()[:100]


def last_seen_at(*, batch: Batch | None = None, host: str = "") -> datetime | None:
    """The newest heartbeat of a worker that has not stopped normally, or None.

    With `batch`, of a command that sends this bulk deletion instead. With `host`, only of that one.
    """
    heartbeats = WorkerHeartbeat.objects.filter(batch=batch)
    if host:
        heartbeats = heartbeats.filter(host=host)
    return heartbeats.values_list("seen_at", flat=True).first()


def is_alive(seen_at: datetime | None, *, now: datetime) -> bool:
    """Whether a process that was last seen at that time counts as running."""
    return seen_at is not None and clock.elapsed_since(seen_at, now=now) <= ALIVE_WITHIN
