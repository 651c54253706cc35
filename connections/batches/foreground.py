"""Runs one bulk deletion to its end in the foreground, for a command.

It claims rows the same way a worker does, so any number of workers can run at the same time.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import Error as DatabaseError
from django.db import connection

from connections.access.actor import Actor
from connections.batches import confirming, running
from connections.change_requests import clock_guard, hold, reconciliation, recording
from connections.core import clock
from connections.core.errors import ResponseNotRecordedError, UnavailableError
from connections.inventory import rate_limits
from connections.inventory.rate_limits import OrgKey
from connections.models import Batch, BatchState, State

logger = logging.getLogger(__name__)

# The longest wait for a rate limit, or before retrying a request that could not leave.
MAX_WAIT = timedelta(minutes=5)
# Seconds between two reads of the database while it waits.
POLL_SECONDS = 1.0
# Seconds for which it retries while the database is unavailable.
DATABASE_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class ForegroundRun:
    """Sends the rows of a running bulk deletion until none can be sent now, then verifies them.

    It waits for rate limits as long as waiting brings results. It ends early when it is stopped,
    once the DELETEs in progress have ended, and when the bulk deletion is paused or canceled. It
    can then be continued by another process, or later by this one.
    """

    batch: Batch
    actor: Actor
    is_stopped: Callable[[], bool]
    # Called with the time until which it waits.
    note_wait: Callable[[datetime], None]
    # Called every few seconds, less often only while requests are in progress.
    record_heartbeat: Callable[[], object]

    def run_to_end(self) -> None:
        """Run it.

        Raises DatabaseError and ResponseNotRecordedError if the database stays unavailable, and
        ClockBehindError.
        """
        unsent = None
        while not self.is_stopped():
            self._retry(self._run_pass)
            if self.batch.state != BatchState.RUNNING:
                break
            now, unsent_before = clock.now(), unsent
            is_sending, until, unsent = self._retry(partial(self._read_progress, now=now))
            if is_sending:
                # Another process is sending it, or died while sending it.
                unsent = unsent_before
                time.sleep(POLL_SECONDS)
                continue
            if until is None and unsent:
                # A hold keeps them back.
                break
            if until is None or until <= now:
                continue
            if unsent == unsent_before or until - now > MAX_WAIT:
                break
            self.note_wait(until)
            self._wait((until - now).total_seconds())
        if not self.is_stopped():
            self._retry(self._verify)
        self.batch.refresh_from_db()

    def _run_pass(self) -> None:
        self.record_heartbeat()
        recording.record_saved_responses()
        clock_guard.require_right_clock()
        for deletion in self.batch.deletions.filter(state=State.SENDING):
            reconciliation.expire_lost_claim(change_request=deletion, actor=self.actor)
        running.run_due(actor=self.actor, is_stopped=self.is_stopped, batch=self.batch)
        self.batch.refresh_from_db()

    def _read_progress(self, *, now: datetime) -> tuple[bool, datetime | None, int]:
        """Whether a row is being sent, when the next one can be sent, and how many remain."""
        is_sending = self.batch.deletions.filter(state=State.SENDING).exists()
        return is_sending, _next_send_at(self.batch, now=now), confirming.count_to_send(self.batch)

    def _verify(self) -> None:
        try:
            running.verify_batch(batch=self.batch, actor=self.actor)
        except UnavailableError:
            # The responses are recorded, and a worker repeats the check.
            logger.warning("The check after bulk deletion %s failed.", self.batch.pk)

    def _retry[T](self, work: Callable[[], T]) -> T:
        """Return what `work` returns. Repeat it while the database is unavailable."""
        ends_at = time.monotonic() + DATABASE_PATIENCE
        while True:
            try:
                return work()
            except (DatabaseError, ResponseNotRecordedError):
                # Closed because a broken connection would never recover.
                connection.close()
                if self.is_stopped() or time.monotonic() >= ends_at:
                    raise
                time.sleep(POLL_SECONDS)

    def _wait(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        open_batch = Batch.objects.filter(pk=self.batch.pk, state=BatchState.RUNNING)
        while not self.is_stopped() and time.monotonic() < ends_at:
            # One failed heartbeat ends nothing, since the next ones can succeed.
            with suppress(DatabaseError):
                if not open_batch.exists():
                    return
                self.record_heartbeat()
            time.sleep(min(POLL_SECONDS, max(0.0, ends_at - time.monotonic())))


def _next_send_at(batch: Batch, *, now: datetime) -> datetime | None:
    """When the next row can be sent. None if no row waits, or a hold keeps back those that do."""
    held_back = rate_limits.held_back_until(now=now)
    unsent = confirming.unsent_rows(batch).exclude(hold.is_row_held())
    rows = unsent.values_list("due_at", "site", "credential__org_id")
    times = [
        max(due_at or now, held_back.get(OrgKey(site=site, org_id=org_id), now))
        for due_at, site, org_id in rows.distinct().order_by()
    ]
    return min(times, default=None)
