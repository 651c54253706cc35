"""The inventory: every org connection that the newest stored snapshots show."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.inventory import protections
from connections.inventory.sync import credentials_in_use, is_stale, newest_syncs
from connections.models import (
    OPEN_STATES,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Protection,
    Sync,
)


@dataclass(frozen=True, kw_only=True)
class InventoryFilter:
    """Which connections to show; an empty field filters nothing."""

    site: str = ""
    org: str = ""
    connection_type: str = ""
    text: str = ""
    # "yes" or "no".
    protected: str = ""

    def matches(self, row: "InventoryRow") -> bool:
        """Whether a connection matches every field."""
        snapshot = row.snapshot
        names = (snapshot.source_org_name, snapshot.sink_org_name)
        return (
            self.site in {"", snapshot.site}
            and self.org in {"", *names, snapshot.source_org_id, snapshot.sink_org_id}
            and (not self.connection_type or self.connection_type in snapshot.connection_types)
            and self.protected in {"", "yes" if row.protection else "no"}
            and (not self.text or self._matches_text(snapshot))
        )

    def _matches_text(self, snapshot: OrgConnectionSnapshot) -> bool:
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
    """One org connection, with the newest snapshot of all credentials that list it."""

    snapshot: OrgConnectionSnapshot
    seen_by: list[Credential]
    # False when the newest sync of every credential that lists it failed.
    is_up_to_date: bool
    # The active protection, if there is one.
    protection: Protection | None

    @property
    def key(self) -> OrgConnectionKey:
        """The key of the connection."""
        return OrgConnectionKey(site=self.snapshot.site, connection_id=self.snapshot.connection_id)

    @property
    def order(self) -> tuple[str, str, str, str]:
        """The sort key: both orgs' names, then the site and id."""
        snapshot = self.snapshot
        return (
            snapshot.source_org_name.casefold(),
            snapshot.sink_org_name.casefold(),
            snapshot.site,
            str(snapshot.connection_id),
        )

    def default_credential(self, *, actor: Actor) -> Credential | None:
        """The credential that sends a deletion unless the person picks another: the source side's.

        None when the person may use none of those that list it.
        """
        return min(
            (each for each in self.seen_by if permissions.can_use(actor, credential_id=each.pk)),
            default=None,
            key=lambda each: (
                each.org_id != self.snapshot.source_org_id,
                not each.is_verified,
                each.name.casefold(),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How complete the inventory is: which orgs were synced, failed or are unknown."""

    listed: list[Sync]
    failed: list[Sync]
    # Of the failed ones: the newest complete sync, by credential id, where there is one.
    last_complete: dict[UUID, Sync]
    never_listed: list[Credential]
    # Orgs that appear only as the other side: no credential of theirs is stored.
    unknown_orgs: list[str]
    oldest_at: datetime | None
    # Whether some org should be synced.
    is_stale: bool


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The matching rows, the choices for each filter, and the coverage."""

    rows: list[InventoryRow]
    total: int
    sites: list[str]
    orgs: list[str]
    connection_types: list[str]
    coverage: Coverage
    # Protections of connections that are not listed now, newest first.
    unlisted_protections: list[Protection]
    # When this was read from the database, by its clock.
    at: datetime


def build_inventory(*, actor: Actor, filters: InventoryFilter) -> Inventory:
    """The inventory from the newest stored snapshots; no request. Raises PermissionDenied."""
    permissions.require(permissions.can_see(actor), "see org connections")
    now = clock.now()
    in_use = {credential.pk: credential for credential in credentials_in_use(actor=actor)}
    newest = {pk: each for pk, each in newest_syncs(now=now).items() if pk in in_use}
    for listing in newest.values():
        listing.credential = in_use[listing.credential_id]
    active = visibility.visible_protections(protections.active_protections(), actor=actor)
    rows = _rows(in_use=in_use, newest=newest, active=active)
    listed = {row.key for row in rows}
    snapshots = [row.snapshot for row in rows]
    names = {snapshot.source_org_name for snapshot in snapshots}
    names |= {snapshot.sink_org_name for snapshot in snapshots}
    return Inventory(
        rows=[row for row in rows if filters.matches(row)],
        total=len(rows),
        sites=sorted({snapshot.site for snapshot in snapshots}),
        orgs=sorted(names - {""}, key=str.casefold),
        connection_types=sorted({kind for each in snapshots for kind in each.connection_types}),
        coverage=_coverage(snapshots=snapshots, in_use=in_use, newest=newest, now=now),
        unlisted_protections=[each for key, each in active.items() if key not in listed],
        at=now,
    )


def _rows(
    *,
    in_use: dict[UUID, Credential],
    newest: dict[UUID, Sync],
    active: dict[OrgConnectionKey, Protection],
) -> list[InventoryRow]:
    listed = {pk for pk, listing in newest.items() if listing.is_complete}
    snapshots: dict[OrgConnectionKey, list[OrgConnectionSnapshot]] = {}
    current = OrgConnectionSnapshot.objects.filter(is_current=True, credential__in=in_use)
    # The newest snapshot first: an org may have been renamed between two of them.
    for snapshot in current.order_by("-last_seen_at", "-id"):
        key = OrgConnectionKey(site=snapshot.site, connection_id=snapshot.connection_id)
        snapshots.setdefault(key, []).append(snapshot)
    rows = [
        InventoryRow(
            snapshot=seen[0],
            seen_by=[in_use[each.credential_id] for each in seen],
            is_up_to_date=any(each.credential_id in listed for each in seen),
            protection=active.get(key),
        )
        for key, seen in snapshots.items()
    ]
    return sorted(rows, key=lambda row: row.order)


def _coverage(
    *,
    snapshots: list[OrgConnectionSnapshot],
    in_use: dict[UUID, Credential],
    newest: dict[UUID, Sync],
    now: datetime,
) -> Coverage:
    own_orgs = {credential.org_id for credential in in_use.values()}
    names = {s.source_org_id: s.source_org_name for s in snapshots}
    names |= {s.sink_org_id: s.sink_org_name for s in snapshots}
    failed = [listing for listing in newest.values() if not listing.is_complete]
    pinned = [credential for credential in in_use.values() if credential.org_id]
    return Coverage(
        listed=[listing for listing in newest.values() if listing.is_complete],
        failed=failed,
        last_complete=newest_syncs(now=now, complete_only=True) if failed else {},
        never_listed=[credential for credential in in_use.values() if credential.pk not in newest],
        unknown_orgs=sorted(
            name or org_id for org_id, name in names.items() if org_id not in own_orgs
        ),
        oldest_at=min((listing.started_at for listing in newest.values()), default=None),
        is_stale=any(is_stale(newest.get(each.pk), now=now) for each in pinned),
    )


def find_open_deletions(
    rows: list[InventoryRow], *, actor: Actor
) -> dict[tuple[str, UUID], Deletion]:
    """The visible open deletions of these connections, by site and id."""
    ids = [row.snapshot.connection_id for row in rows]
    of_them = Deletion.objects.filter(connection_id__in=ids, state__in=OPEN_STATES)
    found = visibility.visible(of_them, actor=actor)
    return {(deletion.site, deletion.connection_id): deletion for deletion in found}
