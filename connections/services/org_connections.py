"""The inventory: asking many orgs at once, and what the stored snapshots say."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import OuterRef, Subquery

from connections import clock, policies
from connections.actors import Actor
from connections.models import Credential, Listing, OrgConnectionSnapshot
from connections.services import readings

# Enough to list 30 orgs in a few seconds without opening a connection to each at once.
PARALLEL_LISTINGS = 8
STALE_AFTER = timedelta(minutes=5)


def credentials_in_use() -> list[Credential]:
    """Every credential that is not retired, by name."""
    return list(Credential.objects.filter(retired_at=None))


def refresh(
    *, actor: Actor, credentials: list[Credential] | None = None, only_stale: bool = False
) -> list[Listing]:
    """Ask Datadog again for every org, or those named, and keep what it says.

    `only_stale` leaves out orgs listed within the last 5 minutes. Raises PermissionDenied; one
    org's failure is that org's listing and hides nothing else.
    """
    policies.require(policies.can_refresh(actor), "read connections from Datadog again")
    chosen = credentials_in_use() if credentials is None else credentials
    if only_stale:
        fresh_since = clock.now() - STALE_AFTER
        newest = newest_listings()
        chosen = [
            credential
            for credential in chosen
            if credential.pk not in newest or newest[credential.pk].started_at < fresh_since
        ]
    return refresh_credentials(credentials=chosen, actor=actor)


def refresh_credentials(*, credentials: list[Credential], actor: Actor) -> list[Listing]:
    """List the given credentials in parallel and store each answer, in the order given.

    The threads only fetch: keys are decrypted and rows written by the caller's thread alone.
    """
    if not credentials:
        return []
    started_at = clock.now()
    clients = [readings.open_client(credential=credential) for credential in credentials]
    with ThreadPoolExecutor(max_workers=PARALLEL_LISTINGS) as pool:
        futures = [
            pool.submit(readings.fetch, client=client, org_id=credential.org_id)
            for client, credential in zip(clients, credentials, strict=True)
        ]
        return [
            readings.store(
                credential=credential,
                fetched=future.result(),
                started_at=started_at,
                actor=actor,
            )
            for credential, future in zip(credentials, futures, strict=True)
        ]


def newest_listings(*, complete_only: bool = False) -> dict[UUID, Listing]:
    """The newest listing of each credential in use, complete or not unless asked."""
    listings = Listing.objects.filter(credential=OuterRef("pk"))
    if complete_only:
        listings = listings.filter(is_complete=True)
    newest = Subquery(listings.order_by("-started_at", "-id").values("pk")[:1])
    in_use = Credential.objects.filter(retired_at=None).annotate(newest=newest)
    rows = Listing.objects.filter(pk__in=in_use.values("newest"))
    return {listing.credential_id: listing for listing in rows}


@dataclass(frozen=True, kw_only=True)
class InventoryFilter:
    """What to show of the inventory; an empty field filters nothing."""

    site: str = ""
    org: str = ""
    connection_type: str = ""
    text: str = ""

    def admits(self, snapshot: OrgConnectionSnapshot) -> bool:
        """Whether a snapshot passes every field."""
        names = (snapshot.source_org_name, snapshot.sink_org_name)
        return (
            self.site in {"", snapshot.site}
            and self.org in {"", *names, snapshot.source_org_id, snapshot.sink_org_id}
            and (not self.connection_type or self.connection_type in snapshot.connection_types)
            and (not self.text or self.text.casefold() in _searchable(snapshot))
        )


def _searchable(snapshot: OrgConnectionSnapshot) -> str:
    words = (
        snapshot.source_org_name,
        snapshot.sink_org_name,
        snapshot.creator_name,
        str(snapshot.connection_id),
        *snapshot.connection_types,
    )
    return "\n".join(words).casefold()


@dataclass(frozen=True, kw_only=True)
class InventoryRow:
    """One org connection, whoever sees it; `snapshot` is the newest sight of it."""

    snapshot: OrgConnectionSnapshot
    seen_by: list[Credential]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of the estate the inventory knows."""

    listed: list[Listing]
    failed: list[Listing]
    never_listed: list[Credential]
    # Orgs that appear only as the other end: no credential of theirs is stored.
    unknown_orgs: list[str]
    oldest_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The stored answer: rows that pass the filter, the choices to filter by, the coverage."""

    rows: list[InventoryRow]
    total: int
    sites: list[str]
    orgs: list[str]
    connection_types: list[str]
    coverage: Coverage


def inventory(*, actor: Actor, only: InventoryFilter) -> Inventory:
    """What the newest stored snapshots say. Asks Datadog nothing. Raises PermissionDenied."""
    policies.require(policies.can_see(actor), "see org connections")
    rows = _rows()
    snapshots = [row.snapshot for row in rows]
    names = {snapshot.source_org_name for snapshot in snapshots}
    names |= {snapshot.sink_org_name for snapshot in snapshots}
    return Inventory(
        rows=[row for row in rows if only.admits(row.snapshot)],
        total=len(rows),
        sites=sorted({snapshot.site for snapshot in snapshots}),
        orgs=sorted(names - {""}, key=str.casefold),
        connection_types=sorted({kind for each in snapshots for kind in each.connection_types}),
        coverage=_coverage(snapshots),
    )


def _rows() -> list[InventoryRow]:
    current = (
        OrgConnectionSnapshot.objects.filter(is_current=True, credential__retired_at=None)
        .select_related("credential")
        .order_by("source_org_name", "sink_org_name", "connection_id", "-last_seen_at")
    )
    rows: dict[tuple[str, UUID], InventoryRow] = {}
    for snapshot in current:
        key = (snapshot.site, snapshot.connection_id)
        row = rows.setdefault(key, InventoryRow(snapshot=snapshot, seen_by=[]))
        row.seen_by.append(snapshot.credential)
    return list(rows.values())


def _coverage(snapshots: list[OrgConnectionSnapshot]) -> Coverage:
    newest = newest_listings()
    in_use = credentials_in_use()
    by_id = {credential.pk: credential for credential in in_use}
    for listing in newest.values():
        listing.credential = by_id[listing.credential_id]
    ours = {credential.org_id for credential in in_use}
    ends = {s.source_org_id: s.source_org_name for s in snapshots}
    ends |= {s.sink_org_id: s.sink_org_name for s in snapshots}
    return Coverage(
        listed=[listing for listing in newest.values() if listing.is_complete],
        failed=[listing for listing in newest.values() if not listing.is_complete],
        never_listed=[credential for credential in in_use if credential.pk not in newest],
        unknown_orgs=sorted(name or org_id for org_id, name in ends.items() if org_id not in ours),
        oldest_at=min((listing.started_at for listing in newest.values()), default=None),
    )


def current_snapshot(
    *, credential: Credential, connection_id: UUID
) -> OrgConnectionSnapshot | None:
    """What this credential last saw of a connection, while its newest listings show it."""
    return OrgConnectionSnapshot.objects.filter(
        credential=credential, connection_id=connection_id, is_current=True
    ).first()


def sights_of(*, site: str, connection_id: UUID) -> list[OrgConnectionSnapshot]:
    """Every snapshot of one connection, oldest first: what each credential saw, and when."""
    sights = OrgConnectionSnapshot.objects.filter(site=site, connection_id=connection_id)
    return list(sights.select_related("credential").order_by("first_seen_at", "id"))
