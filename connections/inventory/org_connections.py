"""Asking many orgs at once, and the snapshots that are stored of what they said."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import OuterRef, Subquery

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.inventory import sync
from connections.models import (
    Credential,
    OrgConnectionSnapshot,
    Sync,
)

# Enough to list 30 orgs in a few seconds without opening a connection to each at once.
PARALLEL_LISTINGS = 8
STALE_AFTER = timedelta(minutes=5)


def credentials_in_use(*, actor: Actor) -> list[Credential]:
    """Every credential within reach that is not retired, by name."""
    return list(
        visibility.visible(Credential.objects.filter(retired_at=None), actor=actor, by="pk")
    )


def refresh(
    *, actor: Actor, credentials: list[Credential] | None = None, only_stale: bool = False
) -> list[Sync]:
    """Ask Datadog again for every org within reach, or those named, and keep what it says.

    `only_stale` leaves out orgs listed within the last 5 minutes. A credential that was never
    verified is pinned to no org, so nothing it lists could be believed: it is left out. One
    org's failure is that org's listing and hides nothing else. Raises PermissionDenied.
    """
    permissions.require(permissions.can_refresh(actor), "read connections from Datadog again")
    chosen = credentials_in_use(actor=actor) if credentials is None else credentials
    chosen = [credential for credential in chosen if credential.org_id]
    if only_stale:
        now = clock.now()
        newest = newest_listings(now=now)
        chosen = [each for each in chosen if is_stale(newest.get(each.pk), now=now)]
    return refresh_credentials(credentials=chosen, actor=actor)


def is_stale(listing: Sync | None, *, now: datetime) -> bool:
    """Whether an org should be read again: never read, or more than 5 minutes ago."""
    return listing is None or clock.elapsed_since(listing.started_at, now=now) > STALE_AFTER


def refresh_credentials(*, credentials: list[Credential], actor: Actor) -> list[Sync]:
    """List the given credentials in parallel and store each answer, in the order given.

    The threads only fetch: keys are decrypted and rows written by the caller's thread alone.
    """
    if not credentials:
        return []
    started_at = clock.now()
    clients = [sync.client_or_failure(credential=credential) for credential in credentials]
    with ThreadPoolExecutor(max_workers=PARALLEL_LISTINGS) as pool:
        futures = [
            pool.submit(sync.fetch_with, client, credential=credential)
            for client, credential in zip(clients, credentials, strict=True)
        ]
        return [
            sync.store_sync(
                credential=credential,
                fetched=future.result(),
                started_at=started_at,
                actor=actor,
            )
            for credential, future in zip(credentials, futures, strict=True)
        ]


def newest_listings(*, now: datetime, complete_only: bool = False) -> dict[UUID, Sync]:
    """The newest listing of each credential in use, complete or not unless asked."""
    # One from the future was stored before the clock was set back; it must not hide newer ones.
    listings = Sync.objects.filter(credential=OuterRef("pk"), started_at__lte=now + clock.TOLERANCE)
    if complete_only:
        listings = listings.filter(is_complete=True)
    newest = Subquery(listings.order_by("-started_at", "-id").values("pk")[:1])
    in_use = Credential.objects.filter(retired_at=None).annotate(newest=newest)
    rows = Sync.objects.filter(pk__in=in_use.values("newest"))
    return {listing.credential_id: listing for listing in rows}


def current_snapshot(
    *, credential: Credential, connection_id: UUID
) -> OrgConnectionSnapshot | None:
    """What this credential last saw of a connection, while its newest listings show it."""
    return OrgConnectionSnapshot.objects.filter(
        credential=credential, connection_id=connection_id, is_current=True
    ).first()
