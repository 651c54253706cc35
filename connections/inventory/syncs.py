"""Syncs many orgs at once, and reads the syncs that were stored."""

from collections.abc import Mapping
from concurrent.futures import as_completed
from contextvars import copy_context
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import UnavailableError
from connections.core.threads import RequestThreads
from connections.datadog.client import DatadogClient
from connections.inventory import rate_limits, sync_schedule
from connections.inventory.fetching import SyncResult, fetch, open_client_or_failure
from connections.inventory.rate_limits import OrgKey
from connections.inventory.storing import store
from connections.models import Credential, Sync
from connections.net.http import pool

STALE_AFTER = timedelta(minutes=5)
SYNC_RETENTION = timedelta(days=90)
OLD_SYNCS_AT_ONCE = 2_000


def credentials_in_use(*, actor: Actor) -> list[Credential]:
    """Every visible credential that is not retired, by name."""
    return list(
        visibility.visible(Credential.objects.filter(retired_at=None), actor=actor, by="pk")
    )


def sync_orgs(
    *, actor: Actor, credentials: list[Credential] | None = None, only_stale: bool = False
) -> list[Sync]:
    """Sync every visible org, or those of the given credentials. Raises PermissionDenied.

    `only_stale` is for syncs that an open page starts. It leaves out orgs synced within the last 5
    minutes, orgs that another process is syncing or will sync within a minute, and orgs held back
    because less than a tenth of a rate limit remains. Credentials that were never
    verified are left out too: they are pinned to no org, so their lists would prove nothing. A
    failure of one org is stored as its result and affects no other.
    """
    permissions.require(permissions.can_sync(actor), "sync connections")
    chosen = credentials_in_use(actor=actor) if credentials is None else credentials
    chosen = [credential for credential in chosen if credential.org_id]
    if only_stale:
        now = clock.now()
        held_back = rate_limits.held_back_until(now=now)
        newest = newest_syncs()
        stale = [
            credential
            for credential in chosen
            if is_stale(newest.get(credential.pk), now=now)
            and OrgKey.of(credential) not in held_back
        ]
        chosen = sync_schedule.claim(stale, now=now) if stale else []
    return sync_credentials(credentials=chosen, actor=actor)


def is_stale(sync: Sync | None, *, now: datetime) -> bool:
    """Whether an org should be synced: never synced, or last synced more than 5 minutes ago."""
    return sync is None or clock.elapsed_since(sync.started_at, now=now) > STALE_AFTER


def sync_credentials(*, credentials: list[Credential], actor: Actor) -> list[Sync]:
    """Sync the given credentials in parallel. Return the stored syncs in the same order.

    The threads only fetch. Keys are decrypted and rows written only by the caller's thread. Each
    sync is stored as soon as it is fetched, so that an org that can't be reached delays no other.
    """
    if not credentials:
        return []
    now = clock.now()
    clients = [open_client_or_failure(credential=credential) for credential in credentials]
    stored: dict[UUID, Sync] = {}
    with pool(), RequestThreads(max_workers=sync_schedule.ORGS_AT_ONCE) as threads:
        fetching = [
            # Each thread gets a copy of the context so that all share the connections.
            threads.submit(copy_context().run, _fetch, credential, client, now)
            for credential, client in zip(credentials, clients, strict=True)
        ]
        for future in as_completed(fetching):
            sync = store(future.result(), actor=actor)
            if sync:
                stored[sync.credential_id] = sync
    return [stored[credential.pk] for credential in credentials]


def _fetch(
    credential: Credential, client: DatadogClient | UnavailableError, now: datetime
) -> SyncResult:
    if isinstance(client, UnavailableError):
        return SyncResult(cause=client.cause, credential=credential, started_at=now)
    return fetch(credential=credential, client=client, now=now, takes_turns=True)


def delete_old_syncs() -> int:
    """Delete up to OLD_SYNCS_AT_ONCE syncs whose retention has ended. Return how many.

    The newest complete sync of each credential stays, because the next one is compared with it.
    Syncs are stored in the order of their numbers, so only the first ones are read.
    """
    complete = Sync.objects.filter(credential=OuterRef("pk"), is_complete=True)
    kept = Credential.objects.annotate(newest=Subquery(complete.values("pk")[:1]))
    first = Sync.objects.order_by("pk").values("pk")[:OLD_SYNCS_AT_ONCE]
    old = Sync.objects.filter(pk__in=first, started_at__lt=clock.now() - SYNC_RETENTION)
    count, _ = old.exclude(pk__in=kept.filter(newest__isnull=False).values("newest")).delete()
    return count


def newest_syncs() -> dict[UUID, Sync]:
    """The newest sync of each credential in use, by credential ID."""
    return _newest(Sync.objects.all(), Credential.objects.filter(retired_at=None))


def newest_complete_syncs(newest: Mapping[UUID, Sync]) -> dict[UUID, Sync]:
    """The newest complete sync of each credential in `newest`, which has the newest syncs."""
    complete = {pk: sync for pk, sync in newest.items() if sync.is_complete}
    failed = Credential.objects.filter(pk__in=newest.keys() - complete.keys())
    return complete | _newest(Sync.objects.filter(is_complete=True), failed)


def _newest(syncs: QuerySet[Sync], credentials: QuerySet[Credential]) -> dict[UUID, Sync]:
    theirs = syncs.filter(credential=OuterRef("pk"))
    newest = Subquery(theirs.order_by("-started_at", "-id").values("pk")[:1])
    rows = Sync.objects.filter(pk__in=credentials.annotate(newest=newest).values("newest"))
    return {sync.credential_id: sync for sync in rows}
