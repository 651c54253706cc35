"""The inventory: asking many orgs at once, and what the stored snapshots say."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import OuterRef, Subquery

from connections import clock, policies
from connections.actors import Actor
from connections.models import (
    OPEN_STATES,
    Credential,
    Deletion,
    Listing,
    OrgConnectionSnapshot,
)
from connections.services import exports, readings
from connections.services.exporting import Export

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

    `only_stale` leaves out orgs listed within the last 5 minutes. A credential that was never
    verified is pinned to no org, so nothing it lists could be believed: it is left out. One
    org's failure is that org's listing and hides nothing else. Raises PermissionDenied.
    """
    policies.require(policies.can_refresh(actor), "read connections from Datadog again")
    chosen = credentials_in_use() if credentials is None else credentials
    chosen = [credential for credential in chosen if credential.org_id]
    if only_stale:
        newest, now = newest_listings(), clock.now()
        chosen = [each for each in chosen if is_stale(newest.get(each.pk), now=now)]
    return refresh_credentials(credentials=chosen, actor=actor)


def is_stale(listing: Listing | None, *, now: datetime) -> bool:
    """Whether an org should be read again: never read, or more than 5 minutes ago."""
    return listing is None or listing.started_at < now - STALE_AFTER


def refresh_credentials(*, credentials: list[Credential], actor: Actor) -> list[Listing]:
    """List the given credentials in parallel and store each answer, in the order given.

    The threads only fetch: keys are decrypted and rows written by the caller's thread alone.
    """
    if not credentials:
        return []
    started_at = clock.now()
    clients = [readings.client_or_failure(credential=credential) for credential in credentials]
    with ThreadPoolExecutor(max_workers=PARALLEL_LISTINGS) as pool:
        futures = [
            pool.submit(readings.fetch_with, client, credential=credential)
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
            and (not self.text or self._finds(snapshot))
        )

    def _finds(self, snapshot: OrgConnectionSnapshot) -> bool:
        searched = _searchable(snapshot)
        return all(word in searched for word in self.text.casefold().split())


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
    # False when no credential that sees it could be listed the last time it was tried.
    is_up_to_date: bool

    @property
    def order(self) -> tuple[str, str, str, str]:
        """Where the row stands: by both names, then what makes it unique."""
        snapshot = self.snapshot
        return (
            snapshot.source_org_name.casefold(),
            snapshot.sink_org_name.casefold(),
            snapshot.site,
            str(snapshot.connection_id),
        )

    def default_credential(self) -> Credential:
        """Which credential sends a deletion unless the person picks another: the source end's."""
        return min(
            self.seen_by,
            key=lambda each: (
                each.org_id != self.snapshot.source_org_id,
                not each.is_verified,
                each.name.casefold(),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of the estate the inventory knows."""

    listed: list[Listing]
    failed: list[Listing]
    # Of the failed ones: the newest complete listing, by credential id, where there is one.
    last_complete: dict[UUID, Listing]
    never_listed: list[Credential]
    # Orgs that appear only as the other end: no credential of theirs is stored.
    unknown_orgs: list[str]
    oldest_at: datetime | None
    # Whether some org should be read again.
    is_stale: bool


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The stored answer: rows that pass the filter, the choices to filter by, the coverage."""

    rows: list[InventoryRow]
    total: int
    sites: list[str]
    orgs: list[str]
    connection_types: list[str]
    coverage: Coverage
    # When this was read from the database, by its clock.
    at: datetime


def inventory(*, actor: Actor, only: InventoryFilter) -> Inventory:
    """What the newest stored snapshots say. Asks Datadog nothing. Raises PermissionDenied."""
    policies.require(policies.can_see(actor), "see org connections")
    now = clock.now()
    in_use = {credential.pk: credential for credential in credentials_in_use()}
    newest = newest_listings()
    for listing in newest.values():
        listing.credential = in_use[listing.credential_id]
    rows = _rows(in_use=in_use, newest=newest)
    snapshots = [row.snapshot for row in rows]
    names = {snapshot.source_org_name for snapshot in snapshots}
    names |= {snapshot.sink_org_name for snapshot in snapshots}
    return Inventory(
        rows=[row for row in rows if only.admits(row.snapshot)],
        total=len(rows),
        sites=sorted({snapshot.site for snapshot in snapshots}),
        orgs=sorted(names - {""}, key=str.casefold),
        connection_types=sorted({kind for each in snapshots for kind in each.connection_types}),
        coverage=_coverage(snapshots=snapshots, in_use=in_use, newest=newest, now=now),
        at=now,
    )


def _rows(*, in_use: dict[UUID, Credential], newest: dict[UUID, Listing]) -> list[InventoryRow]:
    listed = {pk for pk, listing in newest.items() if listing.is_complete}
    sights: dict[tuple[str, UUID], list[OrgConnectionSnapshot]] = {}
    current = OrgConnectionSnapshot.objects.filter(is_current=True, credential__in=in_use)
    # The newest sight first: an org may have been renamed between two of them.
    for snapshot in current.order_by("-last_seen_at", "-id"):
        sights.setdefault((snapshot.site, snapshot.connection_id), []).append(snapshot)
    rows = [
        InventoryRow(
            snapshot=seen[0],
            seen_by=[in_use[each.credential_id] for each in seen],
            is_up_to_date=any(each.credential_id in listed for each in seen),
        )
        for seen in sights.values()
    ]
    return sorted(rows, key=lambda row: row.order)


def _coverage(
    *,
    snapshots: list[OrgConnectionSnapshot],
    in_use: dict[UUID, Credential],
    newest: dict[UUID, Listing],
    now: datetime,
) -> Coverage:
    ours = {credential.org_id for credential in in_use.values()}
    ends = {s.source_org_id: s.source_org_name for s in snapshots}
    ends |= {s.sink_org_id: s.sink_org_name for s in snapshots}
    failed = [listing for listing in newest.values() if not listing.is_complete]
    pinned = [credential for credential in in_use.values() if credential.org_id]
    return Coverage(
        listed=[listing for listing in newest.values() if listing.is_complete],
        failed=failed,
        last_complete=newest_listings(complete_only=True) if failed else {},
        never_listed=[credential for credential in in_use.values() if credential.pk not in newest],
        unknown_orgs=sorted(name or org_id for org_id, name in ends.items() if org_id not in ours),
        oldest_at=min((listing.started_at for listing in newest.values()), default=None),
        is_stale=any(is_stale(newest.get(each.pk), now=now) for each in pinned),
    )


def prepare_export(
    *, actor: Actor, only: InventoryFilter, file_format: str, asked_for: str
) -> Export:
    """Every connection that passes the filter, to be exported.

    `asked_for` is the filter in the asker's own words. Raises PermissionDenied.
    """
    policies.require(policies.can_export(actor), "export org connections")
    return Export(
        actor=actor,
        what="org_connections",
        words="org connections",
        file_format=file_format,
        asked_for=asked_for,
        rows=lambda: map(exports.connection_row, inventory(actor=actor, only=only).rows),
        columns=exports.CONNECTION_COLUMNS,
    )


def open_deletions_of(rows: list[InventoryRow]) -> dict[tuple[str, UUID], Deletion]:
    """The open deletion of each of these connections that has one, by site and id."""
    ids = [row.snapshot.connection_id for row in rows]
    found = Deletion.objects.filter(connection_id__in=ids, state__in=OPEN_STATES)
    return {(deletion.site, deletion.connection_id): deletion for deletion in found}


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
