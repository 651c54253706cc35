"""Reports syncs that fail or work again: one message for all orgs of a site and cause."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from connections import audit
from connections.core import clock
from connections.core.text import format_time
from connections.inventory.failing import FailingSyncs, find_failing
from connections.models import SyncProblem
from connections.notification_queue import outbox

logger = logging.getLogger(__name__)

# Waits this long for other orgs of the same site and cause.
GATHERING_TIME = timedelta(minutes=1)
# At most one message that they fail and one that they work again within this time.
INTERVAL = timedelta(hours=24)


def report_sync_problems() -> None:
    """Compare what fails with what was reported. Log and queue what is new.

    Call it outside any transaction. Raises database errors.
    """
    with audit.atomic():
        failing = {(group.site, group.kind.value): group for group in find_failing()}
        new = [SyncProblem(site=site, cause=cause) for site, cause in failing]
        SyncProblem.objects.bulk_create(new, ignore_conflicts=True)
        now = clock.now()
        # Locked so that only one worker at a time decides.
        problems = SyncProblem.objects.select_for_update(no_key=True).order_by("pk")
        for problem in problems:
            group = failing.get((problem.site, problem.cause))
            if not (group or problem.failing_since or _is_reported(problem)):
                continue
            _follow(problem, group, now=now)
            _notify(problem, now=now)
            problem.save()


def _follow(problem: SyncProblem, group: FailingSyncs | None, *, now: datetime) -> None:
    """Store what fails now. Log when it begins and ends."""
    if group is None:
        if problem.failing_since:
            logger.info("Syncs of %s work again (%s).", problem.site, problem.cause)
        problem.failing_since = None
        return
    if problem.failing_since is None:
        problem.found_at, problem.credential_ids = now, []
        logger.warning(
            "Syncs of %s have failed since %s: %s",
            *(group.orgs, format_time(group.since), group.reason),
        )
    problem.failing_since = group.since
    problem.credential_ids = _merge(problem.credential_ids, group)


def _merge(known: Iterable[str], group: FailingSyncs) -> list[str]:
    return sorted({*known, *(str(credential.pk) for credential in group.credentials)})


def _notify(problem: SyncProblem, *, now: datetime) -> None:
    """Queue the message that is due, if one is."""
    is_failing = problem.failing_since is not None
    if is_failing == _is_reported(problem):
        return
    if is_failing and problem.found_at and now - problem.found_at < GATHERING_TIME:
        return
    name = "failing_notified_at" if is_failing else "recovered_notified_at"
    last: datetime | None = getattr(problem, name)
    if last and now - last < INTERVAL:
        return
    setattr(problem, name, now)
    outbox.enqueue_sync_problem(problem=problem, is_failing=is_failing, at=now)


def _is_reported(problem: SyncProblem) -> bool:
    """Whether the last message says that these syncs fail."""
    failing, recovered = problem.failing_notified_at, problem.recovered_notified_at
    return failing is not None and (recovered is None or recovered < failing)
