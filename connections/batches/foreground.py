"""Runs one bulk deletion to its end in the foreground, for a command.

Its rows are sent by the same claims as a worker's, so any number of workers can run meanwhile.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from django.db import DatabaseError, connection

from connections.access.actor import Actor
from connections.batches import confirming, running
from connections.core import clock
from connections.core.errors import ResponseNotRecordedError, UnavailableError
from connections.deletions import reconciliation, sending
from connections.inventory import rate_limits
from connections.inventory.rate_limits import OrgKey
from connections.models import Batch, BatchState, State

logger = logging.getLogger(__name__)

# The longest wait for a rate limit or before another try of a request that could not leave.
LONGEST_WAIT = timedelta(minutes=5)
# Between two reads of the database while it waits (s).
POLL_SECONDS = 1.0
# While the database is unavailable it tries again for this long (s).
DATABASE_PATIENCE = 60.0


def run_to_end(
    *,
    batch: Batch,
    actor: Actor,
    is_stopped: Callable[[], bool],
    note_wait: Callable[[datetime], None],
    record_heartbeat: Callable[[], object],
) -> Batch:
    """Send the rows of a running bulk deletion until none can be sent now, then verify them.

    It waits for rate limits while that brings results. It ends early when it is stopped, after the
    DELETEs in progress, and when the bulk deletion is paused or canceled; another process, or
    this one later, can then go on. `note_wait` is told until when it waits. `record_heartbeat` is
    called every few seconds, longer only while requests are in progress.

    Raises DatabaseError and ResponseNotRecordedError when the database stays unavailable.
    """
    unsent = None
    while not is_stopped():
        _run_pass(batch, actor=actor, is_stopped=is_stopped, record_heartbeat=record_heartbeat)
        if batch.state != BatchState.RUNNING:
            break
        now, unsent_before = clock.now(), unsent
        read_progress = partial(_read_progress, batch, now=now)
        is_sending, until, unsent = _retry(read_progress, is_stopped=is_stopped)
        if is_sending:
            # Another process sends it, or died while it did.
            unsent = unsent_before
            time.sleep(POLL_SECONDS)
            continue
        if until is None or until <= now:
            continue
        if unsent == unsent_before or until - now > LONGEST_WAIT:
            break
        note_wait(until)
        _wait(
            (until - now).total_seconds(),
            batch=batch,
            is_stopped=is_stopped,
            record_heartbeat=record_heartbeat,
        )
    if not is_stopped():
        _retry(lambda: _verify(batch, actor=actor), is_stopped=is_stopped)
    batch.refresh_from_db()
    return batch


def _read_progress(batch: Batch, *, now: datetime) -> tuple[bool, datetime | None, int]:
    """Whether a row is being sent, when the next one can be, and how many are to be sent."""
    is_sending = batch.deletions.filter(state=State.SENDING).exists()
    return is_sending, _next_at(batch, now=now), confirming.count_to_send(batch)


def _verify(batch: Batch, *, actor: Actor) -> None:
    try:
        running.verify_batch(batch=batch, actor=actor)
    except UnavailableError:
        # The responses are recorded; a worker repeats the check.
        logger.warning("The check after bulk deletion %s failed.", batch.pk)


def _run_pass(
    batch: Batch,
    *,
    actor: Actor,
    is_stopped: Callable[[], bool],
    record_heartbeat: Callable[[], object],
) -> None:
    def run() -> None:
        record_heartbeat()
        sending.record_kept_responses()
        _give_up_lost_claims(batch, actor=actor)
        running.run_due(actor=actor, is_stopped=is_stopped, batch=batch)
        batch.refresh_from_db()

    _retry(run, is_stopped=is_stopped)


def _retry[T](work: Callable[[], T], *, is_stopped: Callable[[], bool]) -> T:
    """What `work` returns, repeated while the database is unavailable."""
    ends_at = time.monotonic() + DATABASE_PATIENCE
    while True:
        try:
            return work()
        except (DatabaseError, ResponseNotRecordedError):
            # A broken connection would never recover.
            connection.close()
            if is_stopped() or time.monotonic() >= ends_at:
                raise
            time.sleep(POLL_SECONDS)


def _give_up_lost_claims(batch: Batch, *, actor: Actor) -> None:
    for deletion in batch.deletions.filter(state=State.SENDING):
        reconciliation.give_up_lost_claim(deletion=deletion, actor=actor)


def _next_at(batch: Batch, *, now: datetime) -> datetime | None:
    """When the next row can be sent; None when no row waits."""
    held_back = rate_limits.held_back_until(now=now)
    rows = confirming.unsent_rows(batch).values_list("due_at", "site", "credential__org_id")
    times = [
        max(due_at or now, held_back.get(OrgKey(site=site, org_id=org_id), now))
        for due_at, site, org_id in rows.distinct().order_by()
    ]
    return min(times, default=None)


def _wait(
    seconds: float,
    *,
    batch: Batch,
    is_stopped: Callable[[], bool],
    record_heartbeat: Callable[[], object],
) -> None:
    ends_at = time.monotonic() + seconds
    open_batch = Batch.objects.filter(pk=batch.pk, state=BatchState.RUNNING)
    while not is_stopped() and time.monotonic() < ends_at:
        # The next ones may succeed, so that a failure ends nothing.
        with suppress(DatabaseError):
            if not open_batch.exists():
                return
            record_heartbeat()
        time.sleep(min(POLL_SECONDS, max(0.0, ends_at - time.monotonic())))
