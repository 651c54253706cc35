"""Runs one bulk deletion in the foreground, for a command, as a worker runs all of them.

It claims rows the same way a worker does, so any number of workers can run at the same time.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from connections.access.actor import Actor
from connections.batches import confirming, running
from connections.change_requests import guards, reconciliation, saved_responses
from connections.core import clock
from connections.inventory import rate_limits
from connections.inventory.rate_limits import OrgKey
from connections.models import Batch, BatchState, State

# The longest wait for a rate limit, or before retrying a request that could not leave.
MAX_WAIT = timedelta(minutes=5)
# Seconds between two reads of the database while it waits.
POLL_SECONDS = 1.0


def run_to_end(
    *,
    batch: Batch,
    actor: Actor,
    record_heartbeat: Callable[[], object],
    note_wait: Callable[[datetime], object],
) -> None:
    """Do what is due for a running bulk deletion until none of its rows can be sent now.

    Rate limits are waited for as long as that brings results, and so are rows that another process
    sends. It ends early when the bulk deletion is paused or canceled. `record_heartbeat` is
    called every few seconds, and `note_wait` with the time of the next row that can be sent. Raises
    ClockBehindError and what `running.run_due` raises.
    """
    unsent = None
    while batch.state == BatchState.RUNNING:
        record_heartbeat()
        saved_responses.record_saved_responses()
        guards.require_right_clock()
        for deletion in batch.deletions.filter(state=State.SENDING):
            reconciliation.expire_lost_claim(change_request=deletion, actor=actor)
        running.run_due(actor=actor, batch=batch)
        batch.refresh_from_db()
        if batch.deletions.filter(state=State.SENDING).exists():
            # Another process is sending it, or died while sending it.
            time.sleep(POLL_SECONDS)
            continue
        now, unsent_before = clock.now(), unsent
        until, unsent = _next_send_at(batch, now=now), confirming.count_to_send(batch)
        if until is None and unsent:
            # A hold keeps them back.
            break
        if until is None or until <= now:
            continue
        if unsent == unsent_before or until - now > MAX_WAIT:
            break
        note_wait(until)
        while batch.state == BatchState.RUNNING and clock.now() < until:
            record_heartbeat()
            time.sleep(POLL_SECONDS)
            batch.refresh_from_db()
    running.verify_batch(batch=batch, actor=actor)
    batch.refresh_from_db()


def _next_send_at(batch: Batch, *, now: datetime) -> datetime | None:
    """When the next row can be sent. None if no row waits, or a hold keeps back those that do."""
    held_back = rate_limits.held_back_until(now=now)
    unsent = confirming.unsent_rows(batch).exclude(guards.is_row_held())
    rows = unsent.values_list("due_at", "site", "credential__org_id")
    times = [
        max(due_at or now, held_back.get(OrgKey(site=site, org_id=org_id), now))
        for due_at, site, org_id in rows.distinct().order_by()
    ]
    return min(times, default=None)
