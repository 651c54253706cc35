"""The checks of stored keys that workers run: once a day, and soon after an upgrade.

The due time is a column of the credential, and moving it is the claim, as for syncs.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import F, Q

from connections.access.actor import WORKER
from connections.core import clock
from connections.core.causes import KEYS_REJECTED, KEYS_UNDECRYPTABLE, Cause
from connections.credentials import key_checks
from connections.inventory import rate_limits, sync_schedule
from connections.inventory.rate_limits import OrgKey
from connections.models import Credential

# A pass starts no more checks after this time, because other work waits for it.
PASS_SECONDS = 10.0
# Less than the time after which a worker that doesn't report counts as gone.
CHECK_SECONDS = 20.0
# When keys are checked again of which Datadog didn't say who owns them.
RETRY_AFTER = timedelta(hours=1)
_ABOUT_KEYS = {*KEYS_REJECTED, Cause.ANOTHER_ORG, KEYS_UNDECRYPTABLE}


def run_due(*, is_stopped: Callable[[], bool] = lambda: False) -> int:
    """Check the keys that are due, one credential at a time, for some seconds. Return how many.

    Leaves out orgs that are held back because of their rate limits. Raises UnavailableError when no
    keys can be decrypted.
    """
    count, ends_at = 0, time.monotonic() + PASS_SECONDS
    for credential in _list_due(now=clock.now()):
        if is_stopped() or time.monotonic() >= ends_at:
            break
        if _claim(credential, now=clock.now()):
            _check(credential)
            count += 1
    return count


def _list_due(*, now: datetime) -> list[Credential]:
    """Those that are due, first those whose owner isn't known since an upgrade."""
    interval = key_checks.CHECK_INTERVAL
    never_tried = Q(key_check_due_at=None)
    is_due = (
        Q(key_check_due_at__lte=now)
        | (never_tried & Q(key_owner_id=""))
        | (never_tried & Q(verified_at__lte=now - interval))
    )
    due = sync_schedule.scheduled().filter(is_due)
    due = due.order_by(F("key_check_due_at").asc(nulls_first=True), "pk")
    held_back = rate_limits.held_back_until(now=now)
    return [credential for credential in due if OrgKey.of(credential) not in held_back]


def _claim(credential: Credential, *, now: datetime) -> bool:
    as_read = Credential.objects.filter(
        pk=credential.pk, retired_at=None, key_check_due_at=credential.key_check_due_at
    )
    return bool(as_read.update(key_check_due_at=now + RETRY_AFTER))


def _check(credential: Credential) -> None:
    """Check and store, unless the failure says nothing about the keys: syncs report an outage."""
    started_at = clock.now()
    [report] = key_checks.verify_in_parallel([credential], seconds=CHECK_SECONDS)
    if report.failure is None or report.failure.cause in _ABOUT_KEYS:
        key_checks.store_report(
            credential=credential, report=report, started_at=started_at, actor=WORKER
        )
