"""When each credential's next automatic sync is due, and which process does it.

The due time is a column of the credential, and moving it is the claim, so any number of workers and
open pages share the syncs. A process that dies leaves its orgs to the others once its claim ends.
"""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from connections import audit
from connections.core import clock
from connections.core.database import skip_locked
from connections.inventory import rate_limits
from connections.models import Credential
from connections.net.http import PARALLEL_REQUESTS

# Each sync is due up to a fifth of its interval earlier, at random, so that syncs that began at
# the same time spread out.
_SHORTEST = 0.8
# A sync that fails after a complete one is tried again this soon.
RETRY_AFTER = timedelta(minutes=5)
# How long a claimed sync can take. After that, another process starts one.
CLAIM_TIMEOUT = timedelta(minutes=1)
# How many orgs one process syncs at once.
ORGS_AT_ONCE = PARALLEL_REQUESTS // rate_limits.REQUESTS_AT_ONCE


def next_due_at(*, now: datetime, has_just_failed: bool = False) -> datetime:
    """When a credential that was just synced is due again.

    `has_just_failed` is for the first failed sync after a complete one.
    """
    if has_just_failed:
        return now + RETRY_AFTER
    return now + settings.SYNC_INTERVAL * random.uniform(_SHORTEST, 1)  # noqa: S311 - not for security


def scheduled() -> QuerySet[Credential]:
    """The credentials that are synced automatically: verified and not retired."""
    return Credential.objects.filter(retired_at=None).exclude(org_id="")


def next_sync_at(credentials: Iterable[Credential]) -> datetime | None:
    """When the first of these credentials is due. None if none of them is synced automatically."""
    due = (
        credential.sync_due_at
        for credential in credentials
        if credential.org_id and not credential.is_retired
    )
    return min(due, default=None)


@audit.atomic()
def claim_due() -> list[Credential]:
    """Claim the credentials that have been due longest, as many as are synced at once.

    Those whose org is held back by a rate limit become due when it resets. Leaves out those that
    another process has locked: waiting for it could deadlock with `lock_snapshots`.
    """
    now, interval = clock.now(), settings.SYNC_INTERVAL
    due = skip_locked(scheduled().filter(sync_due_at__lte=now))
    for org, resets_at in rate_limits.held_back_until(now=now).items():
        of_org = due.filter(site=org.site, org_id=org.org_id)
        _postpone(list(of_org), until=min(resets_at, now + interval))
    claimed = list(due.order_by("sync_due_at")[:ORGS_AT_ONCE])
    _postpone(claimed, until=now + CLAIM_TIMEOUT)
    return claimed


@audit.atomic()
def claim(credentials: Iterable[Credential], *, now: datetime) -> list[Credential]:
    """Claim these credentials, due or not.

    Leaves out those that another process has claimed or synced since they were read.
    """
    free = {
        credential.pk: credential.sync_due_at
        for credential in credentials
        if not now < credential.sync_due_at <= now + CLAIM_TIMEOUT
    }
    # Each sync that is being stored has locked all credentials of its site for a moment, so this
    # waits, and locks them in the same order.
    rows = scheduled().filter(pk__in=free).order_by("pk")
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(no_key=True)
    claimed = [credential for credential in rows if credential.sync_due_at == free[credential.pk]]
    _postpone(claimed, until=now + CLAIM_TIMEOUT)
    return claimed


def _postpone(credentials: Iterable[Credential], *, until: datetime) -> None:
    pks = [credential.pk for credential in credentials]
    Credential.objects.filter(pk__in=pks).update(sync_due_at=until)
