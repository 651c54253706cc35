"""The inventory: every org connection that the newest stored snapshots show."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import batched, chain
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet, TextField, Value

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.agreements.agreed import (
    Agreements,
    NotAgreed,
    find_agreements,
    load_agreements,
    reasons_of,
)
from connections.changes.changes import find_awaiting_acknowledgement
from connections.core import clock
from connections.inventory import protections
from connections.inventory.matching import (
    FilterFacts,
    Flag,
    InventoryFilter,
    KnownOrg,
    ListedConnection,
    sort_orgs,
)
from connections.inventory.sync_schedule import next_sync_at
from connections.inventory.syncs import (
    credentials_in_use,
    is_stale,
    newest_complete_syncs,
    newest_syncs,
)
from connections.models import (
    OPEN_STATES,
    AccessReviewDecision,
    Agreement,
    Change,
    Credential,
    Deletion,
    Org,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    Protection,
    Sync,
)
from connections.models.text_columns import (
    CONNECTION_COLUMNS,
    AsText,
    HexId,
    HexKey,
    hex_key,
    parse_types,
)

ROWS_PER_QUERY = 500
ALL = Q()


# The columns that are read only if they are needed. All but the last one are in ListedConnection.
_OPTIONAL_COLUMNS: dict[str, F | AsText] = {
    "created_at": AsText("connection_created_at"),
    "creator_is_disabled": F("creator_is_disabled"),
    "credential_id": HexId("credential_id"),
}


# What the inventory can be sorted by. Equal connections stay sorted by source.
SORT_KEYS: dict[str, Callable[[ListedConnection], Any]] = {
    "source": lambda listed: listed.source_org.name.casefold(),
    "destination": lambda listed: listed.sink_org.name.casefold(),
    "site": lambda listed: listed.site,
    "created": lambda listed: (listed.created_at is not None, listed.created_at),
    "creator": lambda listed: (listed.creator_name or "").casefold(),
}


# In addition, the number of credentials that list it, and the end of its agreement.
VISIBLE, ENDS = "visible", "ends"


def _sort(
    connections: list[ListedConnection],
    *,
    sort: str,
    listings: Counter[HexKey],
    agreements: Agreements | None,
) -> None:
    """Sort by source and destination, then as in `build_inventory`.

    `listings` says how many credentials list each connection.
    """
    fold = cache(str.casefold)
    connections.sort(
        key=lambda listed: (
            fold(listed.source_org.name),
            fold(listed.sink_org.name),
            listed.site,
            listed.hex_id,
        )
    )
    column, is_descending = sort.removeprefix("-"), sort.startswith("-")
    if column == VISIBLE:
        connections.sort(key=lambda listed: listings[listed.key], reverse=is_descending)
    elif column == ENDS and agreements:
        # No end counts as later than any date.
        connections.sort(
            key=lambda listed: agreements.ends_on(listed.pair) or "9999-99", reverse=is_descending
        )
    elif sort != "source":
        connections.sort(key=SORT_KEYS[column], reverse=is_descending)


@dataclass(frozen=True, kw_only=True)
class InventoryRow:
    """One org connection, with the newest snapshot from all credentials that list it."""

    snapshot: OrgConnectionSnapshot
    listed_by: list[Credential]
    # False when the newest sync of every credential that lists it failed.
    is_up_to_date: bool
    # The active protection, if there is one.
    protection: Protection | None
    agreement: Agreement | None
    # Why it isn't agreed. Empty if it is.
    reasons: tuple[NotAgreed, ...]

    def default_credential(self, *, actor: Actor) -> Credential | None:
        """The credential that sends a deletion unless the person picks another: the source side's.

        None if the person can't use any credential that lists it.
        """
        return min(
            (
                credential
                for credential in self.listed_by
                if permissions.can_use(actor, credential_id=credential.pk)
            ),
            default=None,
            key=lambda credential: sender_sort_key(credential, snapshot=self.snapshot),
        )


def sender_sort_key(
    credential: Credential, *, snapshot: OrgConnectionSnapshot
) -> tuple[bool, bool, str]:
    """Sorts the credentials that can delete a connection: the source side's first."""
    return (
        credential.org_id != snapshot.source_org_id,
        not credential.is_verified,
        credential.name.casefold(),
    )


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How complete the inventory is: which orgs were synced, which failed and which are unknown."""

    listed: list[Sync]
    failed: list[Sync]
    # The newest complete sync of each credential that has one, by credential ID.
    last_complete: dict[UUID, Sync]
    never_listed: list[Credential]
    # Orgs that appear only as the other side, because no credential of theirs is stored.
    unknown_orgs: list[KnownOrg]
    # When the first automatic sync is due.
    next_sync_at: datetime | None
    # Whether some org should be synced.
    is_stale: bool


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The matching connections, the choices for each filter, and the coverage."""

    matches: list[ListedConnection]
    # How many connections each site has, whether or not they match.
    sites: Counter[str]
    # By name.
    orgs: list[KnownOrg]
    connection_types: list[str]
    # Their names.
    creators: list[str]
    coverage: Coverage
    # The visible credentials in use, by ID.
    credentials: dict[UUID, Credential]
    protections: dict[OrgConnectionKey, Protection]
    # Protections of connections that are not currently listed, newest first.
    unlisted_protections: list[Protection]
    # None unless they were needed.
    agreements: Agreements | None
    # The snapshots that the connections were read from.
    current: QuerySet[OrgConnectionSnapshot]
    # When this was read from the database, by its clock.
    at: datetime

    @property
    def total(self) -> int:
        """How many connections there are, whether or not they match."""
        return self.sites.total()

    def load_rows(self, connections: Sequence[ListedConnection]) -> Iterator[InventoryRow]:
        """The rows of some of the matches, in their order."""
        complete = {sync.credential_id for sync in self.coverage.listed}
        for batch in batched(connections, ROWS_PER_QUERY):
            snapshots = OrgConnectionSnapshot.objects.in_bulk(
                [listed.snapshot_id for listed in batch]
            )
            credential_ids = self._find_credentials(snapshots.values())
            agreements = find_agreements([OrgPair(*listed.pair) for listed in batch])
            for listed in batch:
                snapshot = snapshots[listed.snapshot_id]
                agreement = agreements.get(OrgPair(*listed.pair))
                yield InventoryRow(
                    snapshot=snapshot,
                    listed_by=[self.credentials[pk] for pk in credential_ids[snapshot.key]],
                    is_up_to_date=not complete.isdisjoint(credential_ids[snapshot.key]),
                    protection=self.protections.get(snapshot.key),
                    agreement=agreement,
                    reasons=reasons_of(agreement, snapshot.connection_types, today=self.at.date()),
                )

    def _find_credentials(
        self, connections: Collection[OrgConnectionSnapshot]
    ) -> dict[OrgConnectionKey, list[UUID]]:
        """The credentials that list these connections, the one with the newest snapshot first."""
        snapshots = self.current.filter(
            site__in={snapshot.site for snapshot in connections},
            connection_id__in=[snapshot.connection_id for snapshot in connections],
        )
        rows = snapshots.values_list("last_seen_at", "id", "site", "connection_id", "credential_id")
        listed_by: dict[OrgConnectionKey, list[UUID]] = defaultdict(list)
        # Sorted here, because SQLite would otherwise read all current snapshots in that order.
        for *_, site, connection_id, credential_id in sorted(rows, reverse=True):
            # A credential can have been added since those in use were read.
            if credential_id in self.credentials:
                key = OrgConnectionKey(site=site, connection_id=connection_id)
                listed_by[key].append(credential_id)
        return listed_by


def build_inventory(
    *,
    actor: Actor,
    filters: InventoryFilter,
    sort: str = "source",
    within: Q = ALL,
    with_agreements: bool = False,
) -> Inventory:
    """The inventory from the newest stored snapshots; no request. Raises PermissionDenied.

    `sort` is one of SORT_KEYS, VISIBLE or ENDS, after "-" for the opposite order. Only snapshots
    `within` are read: its total and its choices are of those.
    """
    permissions.require(permissions.can_see(actor), "see org connections")
    now = clock.now()
    in_use = {credential.pk: credential for credential in credentials_in_use(actor=actor)}
    newest = {pk: sync for pk, sync in newest_syncs().items() if pk in in_use}
    for sync in newest.values():
        sync.credential = in_use[sync.credential_id]
    active = visibility.visible_protections(protections.active_protections(), actor=actor)
    current = current_snapshots(actor=actor).filter(within)
    column = sort.removeprefix("-")
    needed = {
        "created_at": column == "created" or bool(filters.created),
        "creator_is_disabled": bool(filters.creator or filters.flag),
        "credential_id": Flag.OUT_OF_DATE in filters.flag,
    }
    rows = list(_snapshot_rows(current, needed=needed))
    connections = _merge(rows)
    # A credential has one current snapshot of a connection.
    listings = Counter(row[:2] for row in rows) if column == VISIBLE else Counter[HexKey]()
    protected = {hex_key(key): protection for key, protection in active.items()}
    complete = {pk.hex for pk, sync in newest.items() if sync.is_complete}
    facts = FilterFacts(
        protected=protected,
        up_to_date={row[:2] for row in rows if row[-1] in complete} if filters.flag else (),
        **_load_facts(connections, filters=filters, actor=actor, now=now),
        agreements=load_agreements(today=now.date(), within=within)
        if with_agreements or filters.needs_agreements or column == ENDS
        else None,
    )
    matches = filters.select(connections.values(), facts=facts)
    _sort(matches, sort=sort, listings=listings, agreements=facts.agreements)
    orgs = _known_orgs(connections.values())
    types = {listed.types_text for listed in connections.values()}
    creators = {listed.creator_name for listed in connections.values()}
    return Inventory(
        matches=matches,
        sites=Counter(site for site, _ in connections),
        orgs=orgs,
        connection_types=sorted({name for text in types for name in parse_types(text)}),
        creators=sorted(filter(None, creators), key=str.casefold),
        coverage=_coverage(orgs=orgs, in_use=in_use, newest=newest, now=now),
        credentials=in_use,
        protections=active,
        unlisted_protections=[
            protection for key, protection in protected.items() if key not in connections
        ],
        agreements=facts.agreements,
        current=current,
        at=now,
    )


def _load_facts(
    connections: Iterable[HexKey], *, filters: InventoryFilter, actor: Actor, now: datetime
) -> dict[str, Any]:
    """The fields of FilterFacts that need a query, if the filter uses them."""
    facts: dict[str, Any] = {}
    # Without DISTINCT, because with it SQLite would read all changes ever recorded.
    if filters.changed:
        changes = Change.objects.filter(
            site__in={site for site, _ in connections},
            detected_at__gte=now - timedelta(days=int(filters.changed)),
        )
        facts["changed"] = _keys_of(changes)
    if Flag.CHANGE in filters.flag:
        facts["unacknowledged"] = _keys_of(find_awaiting_acknowledgement(actor=actor))
    if filters.reviewed:
        decisions = AccessReviewDecision.objects.all()
        if filters.reviewed.isdigit():
            since = now - timedelta(days=int(filters.reviewed))
            decisions = decisions.filter(decided_at__gte=since)
        facts["reviewed"] = _keys_of(decisions, "row__")
    if filters.created:
        facts["created_since"] = created_since_text(filters.created, now=now)
    return facts | find_owners_and_groups(filters)


def find_owners_and_groups(filters: InventoryFilter) -> dict[str, Any]:
    """The fields of FilterFacts about the owners and groups that the filter names."""
    facts: dict[str, Any] = {}
    if filters.owner:
        named = Person.objects.filter(username__in=filters.owner)
        facts["owners"] = set(named.values_list(HexId("id"), flat=True))
    if filters.group:
        orgs = Org.objects.filter(group__in=filters.group).order_by()
        facts["orgs_of_groups"] = set(orgs.values_list("site", "org_id"))
    return facts


def created_since_text(created: str, *, now: datetime) -> str:
    """The time in the filter `created`, as the database's text."""
    since = now - timedelta(days=int(created.removeprefix("over-")))
    return since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _keys_of(rows: QuerySet[Any], path: str = "") -> set[HexKey]:
    """The connections that these rows are about. `path` leads to their site and ID."""
    return set(rows.order_by().values_list(f"{path}site", HexId(f"{path}connection_id")))


def iterate_rows(*, actor: Actor, filters: InventoryFilter) -> Iterator[InventoryRow]:
    """Every matching connection, by source. Raises PermissionDenied."""
    inventory = build_inventory(actor=actor, filters=filters)
    return inventory.load_rows(inventory.matches)


def current_snapshots(*, actor: Actor) -> QuerySet[OrgConnectionSnapshot]:
    """The visible snapshots of credentials in use that the newest syncs listed."""
    retired = Credential.objects.exclude(retired_at=None)
    current = OrgConnectionSnapshot.objects.filter(is_current=True).order_by()
    # Not "in" the credentials in use, which would read the rows by credential and then sort them.
    return visibility.visible(current.exclude(credential__in=retired), actor=actor)


def _snapshot_rows(
    current: QuerySet[OrgConnectionSnapshot], *, needed: Mapping[str, bool]
) -> QuerySet[OrgConnectionSnapshot, tuple[Any, ...]]:
    """What a ListedConnection is made of, newest first. Other optional columns are None."""
    return current.order_by("-last_seen_at", "-id").values_list(
        *CONNECTION_COLUMNS,
        *(
            column if needed[name] else Value(None, TextField())
            for name, column in _OPTIONAL_COLUMNS.items()
        ),
    )


def _merge(rows: Iterable[tuple[Any, ...]]) -> dict[HexKey, ListedConnection]:
    """Each connection as its newest snapshot shows it, those with the newest snapshots first."""
    connections: dict[HexKey, ListedConnection] = {}
    # One object for each org, not for each of its connections. An org might have been renamed
    # between two snapshots.
    known_org = cache(KnownOrg)
    for row in rows:
        key = row[:2]
        if key not in connections:
            site, pk, number, source_id, source_name, sink_id, sink_name, *others, _ = row
            source = known_org(site, source_id, source_name)
            sink = known_org(site, sink_id, sink_name)
            connections[key] = ListedConnection(site, pk, number, source, sink, *others)
    return connections


def _known_orgs(connections: Iterable[ListedConnection]) -> list[KnownOrg]:
    """Both orgs of every connection, each org once, by name; the newest connections come first."""
    orgs = dict.fromkeys(
        chain.from_iterable((listed.source_org, listed.sink_org) for listed in connections)
    )
    names: dict[tuple[str, str], str] = {}
    for org in orgs:
        names.setdefault((org.site, org.org_id), org.name)
    return sort_orgs(KnownOrg(*identity, name) for identity, name in names.items())


def _coverage(
    *,
    orgs: list[KnownOrg],
    in_use: dict[UUID, Credential],
    newest: dict[UUID, Sync],
    now: datetime,
) -> Coverage:
    own_orgs = {(credential.site, credential.org_id) for credential in in_use.values()}
    failed = [sync for sync in newest.values() if not sync.is_complete]
    pinned = [credential for credential in in_use.values() if credential.org_id]
    return Coverage(
        listed=[sync for sync in newest.values() if sync.is_complete],
        failed=failed,
        last_complete=newest_complete_syncs(newest),
        never_listed=[credential for credential in in_use.values() if credential.pk not in newest],
        unknown_orgs=[org for org in orgs if (org.site, org.org_id) not in own_orgs],
        next_sync_at=next_sync_at(in_use.values()),
        is_stale=any(is_stale(newest.get(credential.pk), now=now) for credential in pinned),
    )


def find_open_deletions(
    connections: Iterable[ListedConnection], *, actor: Actor
) -> dict[OrgConnectionKey, Deletion]:
    """The visible open deletions of these connections."""
    ids = [listed.connection_id for listed in connections]
    deletions = Deletion.objects.filter(connection_id__in=ids, state__in=OPEN_STATES)
    return {deletion.key: deletion for deletion in visibility.visible(deletions, actor=actor)}
