"""The worker: runs what is due for deletions, syncs, does housekeeping and delivers notifications.

Each channel has its own delivery thread, so that a slow email server delays no webhook, and neither
delays a deletion.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from queue import Empty, SimpleQueue

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from connections.access.actor import WORKER
from connections.access_requests import ending
from connections.access_reviews import reminders, repeating
from connections.audit import checkpoints
from connections.batches import running
from connections.change_requests import saved_responses
from connections.change_requests.guards import find_hold
from connections.core import clock
from connections.core.database import MissingDatabaseError, require_sqlite_database
from connections.credentials import daily_checks
from connections.evidence.maintenance import VERIFICATION_INTERVAL, continue_verification
from connections.evidence.verification import verify_and_store
from connections.inventory import managed_orgs, sync_schedule, syncs
from connections.models import (
    AUDIT_VERIFICATION,
    AuditVerification,
    Notification,
    PeriodicTask,
)
from connections.notifications import agreement_ends, change_digests, delivery, sync_problems
from connections.operations import due, due_work, kept_checkpoint, startup
from connections.operations.due_work import DueWork
from connections.operations.heartbeats import Heartbeat
from connections.people import sessions

logger = logging.getLogger(__name__)

MAX_DELIVERY_PAUSE = 60.0
# Seconds after which a delivery thread looks for notifications even if a busy worker didn't wake it
POLL_SECONDS = 15.0
# One delivery thread looks at a time, and closes its connection to the database if nothing is due,
# so that an idle worker holds at most two connections instead of one more for each channel.
_looking = threading.Lock()
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
    pause = startup.FIRST_PAUSE
    while not is_stopped():
        try:
            close_old_connections()
            # Saves Django's own check, because `work` begins with a statement that would fail too.
            connection.health_check_done = True  # type: ignore[attr-defined]
            seconds, pause = work(), startup.FIRST_PAUSE
        except MissingDatabaseError:
            raise
        except Exception:
            logger.exception("%s failed. Next attempt in %d s.", name, pause)
            # Closed because a broken connection would never recover.
            connection.close()
            seconds, pause = pause, min(pause * 2, max_pause)
        sleep(seconds)


def _deliver(
    channel: Notification.Channel, *, wake: threading.Event, stopped: threading.Event
) -> None:
    def work() -> float:
        wake.wait(POLL_SECONDS)
        wake.clear()
        with _looking:
            has_due = delivery.has_due(channel=channel)
            if not has_due:
                connection.close()
        if has_due:
            delivery.run_due(channel=channel, is_over=stopped.is_set)
            connection.close()
        return 0.0

    _repeat(
        f"Delivery by {channel}",
        work,
        is_stopped=stopped.is_set,
        sleep=stopped.wait,
        max_pause=MAX_DELIVERY_PAUSE,
    )
    connection.close()


@contextmanager
def run_delivery_threads() -> Iterator[Callable[[], None]]:
    """Deliver notifications until the end of the block, each channel in its own thread.

    Yields a function that makes the threads look for notifications at once.
    """
    stopped = threading.Event()
    wakes = [threading.Event() for _ in Notification.Channel]
    threads = [
        threading.Thread(
            target=_deliver, args=(channel,), kwargs={"wake": wake, "stopped": stopped}, daemon=True
        )
        for channel, wake in zip(Notification.Channel, wakes, strict=True)
    ]

    def wake_all() -> None:
        for wake in wakes:
            wake.set()

    for thread in threads:
        thread.start()
    try:
        yield wake_all
    finally:
        stopped.set()
        wake_all()
        for thread in threads:
            thread.join(timeout=DELIVERY_STOP_SECONDS)


# The shortest sleep in seconds. Not longer, so that a response that the web server records is
# verified within 2 s.
MIN_SLEEP = 0.5
MAX_SLEEP = 1.5
# Seconds after which a pass starts no more single requests. If Datadog responds slowly, checks
# become due again before all of them are done, and bulk deletions must not wait for that.
SINGLE_SECONDS = 5.0
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Work that one of the workers does each time this interval has passed."""

    every: timedelta
    run: Callable[["Worker"], object]


def _delete_old_rows() -> None:
    sessions.delete_ended_sessions()
    delivery.delete_old_notifications()
    syncs.delete_old_syncs()


def _unless_on_hold(start: Callable[..., object]) -> Callable[["Worker"], object]:
    """For work that changes something without a person."""
    return lambda worker: None if find_hold() else start(actor=WORKER)


# By the names in the database.
_TASKS = {
    # What `read_due_work` can't see, such as bulk deletions that expire.
    "deletions": _Task(every=MINUTE, run=lambda worker: worker.run_due_requests()),
    "alarms": _Task(every=MINUTE, run=lambda worker: due.raise_alarms(actor=WORKER)),
    "change_notifications": _Task(
        every=MINUTE, run=lambda worker: change_digests.enqueue_changes()
    ),
    "sync_problems": _Task(every=MINUTE, run=lambda worker: sync_problems.report_sync_problems()),
    "agreement_ends": _Task(every=HOUR, run=lambda worker: agreement_ends.remind(actor=WORKER)),
    "review_reminders": _Task(every=MINUTE, run=lambda worker: reminders.send_due(actor=WORKER)),
    "review_repetitions": _Task(every=MINUTE, run=_unless_on_hold(repeating.start_due)),
    "checkpoints": _Task(every=MINUTE, run=lambda worker: worker.make_checkpoint()),
    "key_checks": _Task(every=MINUTE, run=lambda worker: worker.run_due_key_checks()),
    "managed_orgs": _Task(
        every=timedelta(minutes=15), run=lambda worker: managed_orgs.read_due_managed_orgs()
    ),
    "old_rows": _Task(every=timedelta(minutes=15), run=lambda worker: _delete_old_rows()),
}
# A verification takes many passes, so the worker continues it between its other work.
_INTERVALS = {name: task.every for name, task in _TASKS.items()} | {
    AUDIT_VERIFICATION: VERIFICATION_INTERVAL
}


class Worker:
    """Works until `stop` is called, which a signal handler can do.

    The task in progress then ends within its own deadlines: sync 10 s, DELETE 30 s, check 10 s.
    """

    def __init__(self) -> None:
        self._wake_delivery: Callable[[], None] = lambda: None
        # A signal handler can put to a SimpleQueue, while an Event might deadlock there.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_stopped = False
        self._heartbeat = Heartbeat()
        self._lists = ending.SharedLists(work_between=self._heartbeat.record)
        # Set while it ends access.
        self._is_ending = threading.Event()
        self._last_read: DueWork | None = None
        # When to compare the database with the kept checkpoint, by the monotonic clock.
        self._compare_at = 0.0
        # The verification in progress, with the task that this worker has claimed for it.
        self._verification: tuple[PeriodicTask, Iterator[AuditVerification | None]] | None = None

    def stop(self) -> None:
        """Stop after the task in progress."""
        self._is_stopped = True
        self._wake.put(None)

    def wait_for_database(self, check: Callable[[], None]) -> None:
        """Call `check` until the database is available, or until stopped: see `startup`."""
        startup.wait_for_database(check, sleep=self._sleep, is_stopped=lambda: self._is_stopped)

    def run(self, *, wake_delivery: Callable[[], None] = lambda: None) -> None:
        """Work until stopped. Errors are logged and don't end it, except MissingDatabaseError.

        `wake_delivery` is called while notifications are due.
        """
        self._wake_delivery = wake_delivery

        def work() -> float:
            try:
                self.work_once()
            except DatabaseError:
                # What answers next might be another database.
                self._compare_at = 0.0
                require_sqlite_database()
                raise
            return self._seconds_until_due()

        _repeat(
            "The worker",
            work,
            is_stopped=lambda: self._is_stopped,
            sleep=self._sleep,
            max_pause=startup.MAX_PAUSE,
        )
        self._heartbeat.remove()

    def run_once(self) -> int:
        """Like `work_once`, for a process that ends afterwards."""
        try:
            count = self.work_once()
            while self._verification and not self._is_stopped:
                self._heartbeat.record()
                self._continue_verification()
            return count
        finally:
            self._heartbeat.remove()

    def work_once(self) -> int:
        """Do all that is due now, unless stopped in the meantime. Return how many requests.

        First records responses that waited for the database, because due work might depend on them.
        While the database's clock is behind, nothing else is done.
        Raises what the database and the services raise.
        """
        self._heartbeat.record()
        saved_responses.record_saved_responses()
        count = 0
        # A large bulk deletion takes many passes, and nothing else may wait for all of them.
        while not self._is_stopped:
            self._continue_verification()
            self._compare_with_kept_checkpoint()
            work = self._read_due_work()
            if work.has_notifications:
                self._wake_delivery()
            if work.clock.problem:
                break
            handled = self.run_due_requests() if work.has_requests else 0
            ended = self._end_due() if work.has_ends else 0
            finished = self._run_tasks(work.tasks)
            # Last, because without a usable key ring each pass ends here.
            synced = self._sync_due() if work.has_syncs else 0
            count += handled + ended
            if not (handled or ended or synced or finished):
                break
        return count

    def make_checkpoint(self) -> None:
        """Make a checkpoint if one is due, and keep it soon."""
        if checkpoints.make_checkpoint_if_due():
            self._compare_at = 0.0

    def _compare_with_kept_checkpoint(self) -> None:
        """Once a minute, before anything that is due, because an older database must not act."""
        if time.monotonic() >= self._compare_at:
            kept_checkpoint.compare_and_keep()
            self._compare_at = time.monotonic() + MINUTE.total_seconds()

    def _read_due_work(self) -> DueWork:
        work = due_work.read_due_work(intervals=_INTERVALS)
        last, self._last_read = self._last_read, work
        if work.clock.problem and not (last and last.clock.problem):
            logger.warning("%s Nothing is sent until it is right.", work.clock.problem)
        # Only a whole pass notices bulk deletions that expired while no worker ran.
        return work if last else replace(work, has_requests=True)

    def run_due_requests(self) -> int:
        """Do what is due, for a few seconds each: first single requests, then bulk deletions."""
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

    def run_due_key_checks(self) -> int:
        """Check the keys that are due, for some seconds."""
        return daily_checks.run_due(is_stopped=lambda: self._is_stopped)

    def _end_due(self) -> int:
        """End access whose last day has passed, for a few seconds."""
        self._is_ending.set()
        try:
            ended = ending.end_due(
                actor=WORKER, lists=self._lists, is_stopped=lambda: self._is_stopped
            )
        finally:
            self._is_ending.clear()
        self._heartbeat.record()
        return len(ended)

    @contextmanager
    def run_sending_thread(self) -> Iterator[None]:
        """Until the end of the block, send what waits to be sent while this worker ends access.

        The DELETE of an end can take 30 s, and the POST of a move can't wait for that. What is
        being sent when the block ends is finished, within its own deadlines.
        """
        stopped = threading.Event()

        def work() -> float:
            # Otherwise the worker sends it, once it has looked at the clock and for an older
            # database. It has just done that when it ends access.
            if self._is_ending.is_set():
                due.run_due(actor=WORKER, limit=1, only=due.TO_BE_SENT)
            else:
                connection.close()
            return MIN_SLEEP

        def run() -> None:
            _repeat(
                "Sending",
                work,
                is_stopped=stopped.is_set,
                sleep=stopped.wait,
                max_pause=startup.MAX_PAUSE,
            )
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _sync_due(self) -> int:
        if self._is_stopped:
            return 0
        credentials = sync_schedule.claim_due()
        syncs.sync_credentials(credentials=credentials, actor=WORKER)
        self._heartbeat.record()
        return len(credentials)

    def _run_tasks(self, tasks: Sequence[PeriodicTask]) -> int:
        """Run those of these tasks that this worker can claim. Return how many."""
        count = 0
        for task in tasks:
            every, now = _INTERVALS[task.name], clock.now()
            claimed_until = now + min(every, due_work.CLAIM_TIMEOUT)
            if self._is_stopped or not due_work.postpone(task, until=claimed_until):
                continue
            count += 1
            if task.name == AUDIT_VERIFICATION:
                self._verification = task, verify_and_store()
                self._continue_verification()
                continue
            _TASKS[task.name].run(self)
            if every > due_work.CLAIM_TIMEOUT:
                due_work.postpone(task, until=now + every)
            self._heartbeat.record()
        return count

    def _continue_verification(self) -> None:
        """Continue the verification in progress for a moment, unless another worker has it now."""
        if self._verification is None:
            return
        (task, steps), self._verification = self._verification, None
        if not due_work.postpone(task, until=clock.now() + due_work.CLAIM_TIMEOUT):
            return
        wait = continue_verification(steps)
        if wait is None:
            self._verification = task, steps
        else:
            due_work.postpone(task, until=clock.now() + wait)

    def _seconds_until_due(self) -> float:
        """How long to sleep: until something is due, from MIN_SLEEP to MAX_SLEEP."""
        if self._last_read is None:
            return MIN_SLEEP
        seconds = (self._last_read.next_at - self._last_read.now).total_seconds()
        return min(max(seconds, MIN_SLEEP), MAX_SLEEP)

    def _sleep(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return
