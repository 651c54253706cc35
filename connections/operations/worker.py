"""The worker's loop: it asks the database what is due and calls the services, one at a time."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from connections.access.actor import WORKER
from connections.audit.maintenance import AuditMaintenance
from connections.core import clock
from connections.deletions import spool
from connections.inventory import org_connections
from connections.models import Deletion
from connections.notifications import delivery
from connections.operations import alarms, due, heartbeats
from connections.people import sessions

logger = logging.getLogger(__name__)

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
            org_connections.refresh(actor=WORKER, only_stale=True)
            sessions.forget_ended()
        if not self._is_stopped:
            self._record.tend()
        if not self._is_stopped and time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + HOUSEKEEPING_EVERY
            alarms.raise_alarms(actor=WORKER)
            delivery.prune()
        return count

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        heartbeats.beat(name=self._name, host=self._host, process_id=os.getpid())
        self._next_beat = time.monotonic() + heartbeats.BEAT_EVERY.total_seconds()

    def _end(self) -> None:
        try:
            heartbeats.end(name=self._name)
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
