"""The threads of a worker that deliver notices: one for each channel, so that a slow mail server
holds up no webhook, and neither of them a deletion."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.db.models import Q

from connections.access.actor import WORKER
from connections.audit.maintenance import AuditMaintenance
from connections.core import clock
from connections.deletions import spool
from connections.inventory import sync
from connections.models import Deletion, Notification, WorkerHeartbeat
from connections.notifications import delivery
from connections.operations import due
from connections.people import sessions

logger = logging.getLogger(__name__)

# Between two looks (s); after an error twice as long each time, up to the longest.
LOOK_EVERY = 2.0
LONGEST_DELIVERY_PAUSE = 60.0
# For a sending that is on its way when the worker ends (s); it is tried again elsewhere.
ENDING = 15.0


class DeliveryThread(threading.Thread):
    """Delivers by one channel until stopped. An error is logged and does not end it."""

    def __init__(self, channel: Notification.Channel) -> None:
        super().__init__(name=f"courier-{channel}", daemon=True)
        self._channel = channel
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """End after the sending that is on its way."""
        self._is_stopped.set()

    def run(self) -> None:
        pause = LOOK_EVERY
        while not self._is_stopped.wait(pause):
            try:
                close_old_connections()
                delivery.run_due(channel=self._channel, is_over=self._is_stopped.is_set)
                pause = LOOK_EVERY
            except DatabaseError:
                pause = min(pause * 2, LONGEST_DELIVERY_PAUSE)
                logger.warning("The database did not answer a courier.", exc_info=True)
                connection.close()
            except Exception:
                pause = min(pause * 2, LONGEST_DELIVERY_PAUSE)
                # Whatever it is: one notice must not keep the others waiting.
                logger.exception("A courier failed and goes on in %d s.", pause)
                connection.close()
        connection.close()


@contextmanager
def delivery_threads_running() -> Iterator[None]:
    """Couriers for every channel, from here to the end of the block."""
    couriers = [DeliveryThread(channel) for channel in Notification.Channel]
    for courier in couriers:
        courier.start()
    try:
        yield
    finally:
        for courier in couriers:
            courier.stop()
        for courier in couriers:
            courier.join(timeout=ENDING)


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


REFRESH_EVERY = timedelta(minutes=15)
# Between these two (s) it sleeps: not longer, since another process may ask for something.
SHORTEST_SLEEP = 0.5
LONGEST_SLEEP = 3.0
# Alarms about what has been as it is for too long, and what is kept no longer (s).
HOUSEKEEPING_EVERY = 60.0
# After an error it waits this long (s), twice as long each time: well under the 60 s after which
# a claim counts as lost, since an answer may wait for the database to come back.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0


class Worker:
    """Works until `stop` is called, also from a signal handler.

    What it is doing then ends within its own deadlines: listing 10 s, DELETE 30 s, proof 10 s.
    """

    def __init__(self, *, refresh_every: timedelta = REFRESH_EVERY) -> None:
        self._refresh_every = refresh_every.total_seconds()
        self._next_refresh = time.monotonic()
        # A SimpleQueue may be put to from a signal handler; an Event may deadlock there.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_stopped = False
        host = socket.gethostname()[:100]
        self._name = f"{host}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._host = host
        self._next_beat = time.monotonic()
        self._record = AuditMaintenance()
        self._next_housekeeping = time.monotonic()

    def stop(self) -> None:
        """End after what is being done now."""
        self._is_stopped = True
        self._wake.put(None)

    def wait_for_database(self, check: Callable[[], None]) -> None:
        """Call `check` until the database answers it, or until stopped.

        A database that is away when a worker starts must not end the web server beside it.
        Raises whatever else `check` raises.
        """
        pause = FIRST_PAUSE
        while not self._is_stopped:
            try:
                check()
            except DatabaseError:
                logger.warning("The database does not answer; again in %d s.", pause, exc_info=True)
                connection.close()
                self._sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return

    def run(self) -> None:
        """Work until stopped. An error is logged and does not end it."""
        pause = FIRST_PAUSE
        while not self._is_stopped:
            try:
                self.work_once()
                nap, pause = seconds_until_due(), FIRST_PAUSE
            except Exception:
                # Whatever it is: one row or a lost database must not keep the others waiting.
                logger.exception("The worker failed and goes on in %d s.", pause)
                # A broken connection would fail again for ever.
                connection.close()
                nap, pause = pause, min(pause * 2, LONGEST_PAUSE)
            self._sleep(nap)
        self._end()

    def work_once(self) -> int:
        """Do all that is due now, unless stopped meanwhile; gives how many deletions.

        Answers that waited for the database come first: what is due may be about them. Raises
        what the database and the services raise.
        """
        close_old_connections()
        self._beat()
        spool.replay()
        count = 0
        while not self._is_stopped and due.run_due(actor=WORKER, limit=1):
            count += 1
            self._beat()
        if not self._is_stopped and time.monotonic() >= self._next_refresh:
            self._next_refresh = time.monotonic() + self._refresh_every
            sync.sync_orgs(actor=WORKER, only_stale=True)
            sessions.forget_ended()
        if not self._is_stopped:
            self._record.tend()
        if not self._is_stopped and time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + HOUSEKEEPING_EVERY
            due.raise_alarms(actor=WORKER)
            delivery.prune()
        return count

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        beat(name=self._name, host=self._host, process_id=os.getpid())
        self._next_beat = time.monotonic() + BEAT_EVERY.total_seconds()

    def _end(self) -> None:
        try:
            end(name=self._name)
        except DatabaseError:
            # It ends all the same; its row is then one that is no longer renewed.
            logger.warning("The worker's end could not be recorded.", exc_info=True)

    def _sleep(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return


def seconds_until_due() -> float:
    """How long to sleep: until the next deletion is due, within the two bounds."""
    due_at = (
        Deletion.objects.filter(due_at__isnull=False).order_by("due_at").values_list("due_at")
    ).first()
    if due_at is None or due_at[0] is None:
        return LONGEST_SLEEP
    seconds: float = (due_at[0] - clock.now()).total_seconds()
    return min(max(seconds, SHORTEST_SLEEP), LONGEST_SLEEP)
