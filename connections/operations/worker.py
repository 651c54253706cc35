"""The worker: runs what is due for deletions, syncs, does housekeeping and delivers notifications.

Each channel has its own delivery thread, so that a slow email server delays no webhook, and neither
delays a deletion.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import Empty, SimpleQueue
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from connections.access.actor import WORKER
from connections.access_reviews import reminders
from connections.batches import running
from connections.core import clock
from connections.core.database import MissingDatabaseError, require_sqlite_database
from connections.deletions import sending
from connections.evidence.maintenance import AuditMaintenance
from connections.inventory import managed_orgs, sync
from connections.models import Credential, Deletion, Notification
from connections.notifications import change_digests, delivery
from connections.operations import due
from connections.operations.heartbeats import Heartbeat
from connections.people import sessions

logger = logging.getLogger(__name__)

# Seconds to wait after an error. Doubles each time.
FIRST_PAUSE = 1.0
# Well under the 60 s after which a claim expires, because a response might be waiting for the
# database to come back.
MAX_PAUSE = 15.0
MAX_DELIVERY_PAUSE = 60.0
# Seconds between two polls for notifications.
POLL_SECONDS = 2.0
# Seconds for a delivery in progress when the worker stops. Another worker retries it later.
DELIVERY_STOP_SECONDS = 15.0


def _repeat(
    name: str,
    work: Callable[[], float],
    *,
    is_stopped: Callable[[], bool],
    sleep: Callable[[float], object],
    max_pause: float,
) -> None:
    """Call `work` until stopped, sleeping for as many seconds as it returns.

    Errors are logged and don't end it, because one row or a lost database must not stop the work on
    others. Only MissingDatabaseError does.
    """
    pause = FIRST_PAUSE
    while not is_stopped():
        try:
            close_old_connections()
            seconds, pause = work(), FIRST_PAUSE
        except MissingDatabaseError:
            raise
        except Exception:
            logger.exception("%s failed. Next attempt in %d s.", name, pause)
            # Closed because a broken connection would never recover.
            connection.close()
            seconds, pause = pause, min(pause * 2, max_pause)
        sleep(seconds)


def _deliver(channel: Notification.Channel, stopped: threading.Event) -> None:
    def work() -> float:
        delivery.run_due(channel=channel, is_over=stopped.is_set)
        return POLL_SECONDS

    _repeat(
        f"Delivery by {channel}",
        work,
        is_stopped=stopped.is_set,
        sleep=stopped.wait,
        max_pause=MAX_DELIVERY_PAUSE,
    )
    connection.close()


@contextmanager
def run_delivery_threads() -> Iterator[None]:
    """Deliver notifications until the end of the block, each channel in its own thread."""
    stopped = threading.Event()
    threads = [
        threading.Thread(target=_deliver, args=(channel, stopped), daemon=True)
        for channel in Notification.Channel
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(timeout=DELIVERY_STOP_SECONDS)


SYNC_INTERVAL = timedelta(minutes=15)
# The shortest sleep in seconds. Not longer, so that a response that the web server records is
# verified within 2 s.
MIN_SLEEP = 0.5
MAX_SLEEP = 1.5
# Seconds after which a pass starts no more single deletions. If Datadog responds slowly, checks
# become due again before all of them are done, and bulk deletions must not wait for that.
SINGLE_SECONDS = 5.0
# Seconds between two runs of alarms and of deleting old data.
HOUSEKEEPING_SECONDS = 60.0


class Worker:
    """Works until `stop` is called, which a signal handler can do.

    The task in progress then ends within its own deadlines: sync 10 s, DELETE 30 s, check 10 s.
    """

    def __init__(self, *, sync_interval: timedelta = SYNC_INTERVAL) -> None:
        self._sync_interval = sync_interval.total_seconds()
        self._next_sync = time.monotonic()
        # The credentials that the last sync left out because of a rate limit, and when the first of
        # these limits resets.
        self._held_back: Collection[UUID] = ()
        self._next_reset = math.inf
        # A signal handler can put to a SimpleQueue, while an Event might deadlock there.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_stopped = False
        self._heartbeat = Heartbeat()
        self._audit_maintenance = AuditMaintenance()
        self._next_housekeeping = time.monotonic()

    def stop(self) -> None:
        """Stop after the task in progress."""
        self._is_stopped = True
        self._wake.put(None)

    def wait_for_database(self, check: Callable[[], None]) -> None:
        """Call `check` until the database is available, or until stopped.

        If the database is unavailable when a worker starts, that must not end the web server that
        runs with it. Raises MissingDatabaseError, and what `check` raises except DatabaseError.
        """
        pause = FIRST_PAUSE
        while not self._is_stopped:
            try:
                check()
            except DatabaseError:
                require_sqlite_database()
                logger.warning(
                    "The database is not available. Next attempt in %d s.", pause, exc_info=True
                )
                connection.close()
                self._sleep(pause)
                pause = min(pause * 2, MAX_PAUSE)
            else:
                return

    def run(self) -> None:
        """Work until stopped. Errors are logged and don't end it, except MissingDatabaseError."""

        def work() -> float:
            try:
                self.work_once()
                return seconds_until_due()
            except DatabaseError:
                require_sqlite_database()
                raise

        _repeat(
            "The worker",
            work,
            is_stopped=lambda: self._is_stopped,
            sleep=self._sleep,
            max_pause=MAX_PAUSE,
        )
        self._heartbeat.remove()

    def run_once(self) -> int:
        """Like `work_once`, for a process that ends afterwards."""
        try:
            return self.work_once()
        finally:
            self._heartbeat.remove()

    def work_once(self) -> int:
        """Do all that is due now, unless stopped in the meantime. Return the number of deletions.

        First records responses that waited for the database, because due work might depend on them.
        Raises what the database and the services raise.
        """
        self._heartbeat.record()
        sending.record_saved_responses()
        count = 0
        while not self._is_stopped:
            handled = self._run_due()
            # Because a large bulk deletion takes many passes.
            self._do_periodic_work()
            if not handled:
                break
            count += handled
        return count

    def _do_periodic_work(self) -> None:
        """Sync, maintain the audit log, raise alarms and delete old rows, each when due."""
        if not self._is_stopped and time.monotonic() >= self._next_sync:
            self._next_sync = time.monotonic() + self._sync_interval
            self._sync(sync.credentials_in_use(actor=WORKER))
            managed_orgs.read_due_managed_orgs()
            sessions.delete_ended_sessions()
        elif not self._is_stopped and time.monotonic() >= self._next_reset:
            in_use = sync.credentials_in_use(actor=WORKER)
            self._sync([credential for credential in in_use if credential.pk in self._held_back])
        if not self._is_stopped:
            self._audit_maintenance.run_due()
        if not self._is_stopped and time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
            due.raise_alarms(actor=WORKER)
            change_digests.enqueue_changes()
            reminders.send_due(actor=WORKER)
            delivery.delete_old_notifications()
            sync.delete_old_syncs()

    def _sync(self, credentials: list[Credential]) -> None:
        """Sync these credentials' stale orgs.

        Note those to sync later, when a rate limit resets.
        """
        self._next_reset = math.inf
        sync.sync_orgs(actor=WORKER, credentials=credentials, only_stale=True)
        now = clock.now()
        held_back = sync.stale_held_back_until(credentials=credentials, now=now)
        self._held_back = held_back.keys()
        if held_back:
            seconds = (min(held_back.values()) - now).total_seconds()
            self._next_reset = time.monotonic() + seconds
        change_digests.enqueue_changes(after_sync=True)

    def _run_due(self) -> int:
        """Do what is due, for a few seconds each: first single deletions, then bulk deletions."""
        count = 0
        ends_at = time.monotonic() + SINGLE_SECONDS
        while not self._is_stopped and due.run_due(actor=WORKER, limit=1):
            count += 1
            self._heartbeat.record()
            if time.monotonic() >= ends_at:
                break
        if not self._is_stopped:
            count += running.run_due(actor=WORKER, is_stopped=lambda: self._is_stopped)
            self._heartbeat.record()
        return count

    def _sleep(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return


def seconds_until_due() -> float:
    """How long to sleep: until the next deletion is due, from MIN_SLEEP to MAX_SLEEP."""
    now = clock.now()
    rows = Deletion.objects.filter(due_at__isnull=False).exclude(running.is_held_back(now=now))
    due_at = rows.order_by("due_at").values_list("due_at").first()
    if due_at is None or due_at[0] is None:
        return MAX_SLEEP
    seconds: float = (due_at[0] - now).total_seconds()
    return min(max(seconds, MIN_SLEEP), MAX_SLEEP)
