"""Reads which orgs a parent org manages, so that orgs without a connection are known too.

Most orgs manage none, and most keys lack the permission. A failure is stored with the credential as
"not available", and nothing else depends on it.
"""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connections import audit
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import MAX_ORG_ID_LENGTH, ListedOrg
from connections.datadog.responses import DatadogError, RateLimit
from connections.inventory import rate_limits
from connections.inventory.fetching import SyncResult, open_client_or_failure
from connections.inventory.rate_limits import OrgKey
from connections.models import Credential, Org
from connections.net.http import PARALLEL_REQUESTS, pool

READ_AGAIN_AFTER = timedelta(days=1)
# Each request takes at most one deadline, in seconds, because a worker must record that it is alive
# in between.
DEADLINE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class ManagedOrgs:
    """The orgs that Datadog listed, or why it listed none."""

    orgs: tuple[ListedOrg, ...] = ()
    failure: dict[str, Any] | None = None
    rate_limits: tuple[RateLimit, ...] = ()


def fetch_managed_orgs(
    *, client: DatadogClient, org_id: str, deadline_seconds: float = DEADLINE_SECONDS
) -> ManagedOrgs:
    """The keys' own org and the orgs that it manages. Never raises for a failure at Datadog.

    `org_id` is the credential's org. A list of another org counts as a failure.
    """
    try:
        orgs = client.list_managed_orgs(deadline_seconds=deadline_seconds)
    except DatadogError as error:
        failure = SyncResult.from_error(error).failure
        return ManagedOrgs(failure=failure, rate_limits=client.rate_limits)
    if orgs[0].id != org_id:
        failure = SyncResult(cause=Cause.ANOTHER_ORG, http_status=200).failure
        return ManagedOrgs(failure=failure)
    return ManagedOrgs(
        orgs=tuple(org for org in orgs if len(org.id) <= MAX_ORG_ID_LENGTH),
        rate_limits=client.rate_limits,
    )


@audit.atomic()
def store_managed_orgs(*, credential: Credential, found: ManagedOrgs) -> None:
    """Store the orgs and when they were read. A failure keeps the orgs from an earlier list."""
    now = clock.now()
    in_use = Credential.objects.filter(pk=credential.pk, retired_at=None)
    if not in_use.update(managed_orgs_read_at=now, managed_orgs_error=found.failure):
        return
    rate_limits.record(
        site=credential.site, org_id=credential.org_id, rate_limits=found.rate_limits, now=now
    )
    if found.failure:
        return
    site = credential.site
    Org.objects.bulk_create(
        (
            Org(site=site, org_id=org.id, name=org.name, first_seen_at=now, established_at=now)
            for org in found.orgs
        ),
        # Only syncs change a known name, because they report the change.
        ignore_conflicts=True,
    )
    listed = Org.objects.filter(site=site, org_id__in=[org.id for org in found.orgs])
    credential.managed_orgs.set(listed)


def read_due_managed_orgs() -> int:
    """Read the managed orgs of credentials whose list is at least a day old. Return how many.

    Takes as many as can be requested in parallel, oldest lists first, and skips orgs that are held
    back because of their rate limits. Raises UnavailableError when no keys can be decrypted.
    """
    credentials = _due_credentials(now=clock.now())
    clients = [open_client_or_failure(credential=credential) for credential in credentials]
    with pool(), ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS) as threads:
        futures = [
            # Each thread gets a copy of the context so that all share the connections.
            threads.submit(copy_context().run, _fetch_or_failure, client, credential=credential)
            for client, credential in zip(clients, credentials, strict=True)
        ]
        for credential, future in zip(credentials, futures, strict=True):
            store_managed_orgs(credential=credential, found=future.result())
    return len(credentials)


def _due_credentials(*, now: datetime) -> list[Credential]:
    in_use = Credential.objects.filter(retired_at=None).exclude(org_id="")
    held_back = rate_limits.held_back_until(now=now)
    due = [
        credential
        for credential in in_use
        if OrgKey.of(credential) not in held_back
        and (
            credential.managed_orgs_read_at is None
            or clock.elapsed_since(credential.managed_orgs_read_at, now=now) >= READ_AGAIN_AFTER
        )
    ]
    due.sort(
        key=lambda credential: (
            credential.managed_orgs_read_at is not None,
            credential.managed_orgs_read_at,
        )
    )
    return due[:PARALLEL_REQUESTS]


def _fetch_or_failure(
    client: DatadogClient | UnavailableError, *, credential: Credential
) -> ManagedOrgs:
    if isinstance(client, UnavailableError):
        return ManagedOrgs(failure=SyncResult(cause=client.cause).failure)
    return fetch_managed_orgs(client=client, org_id=credential.org_id)
