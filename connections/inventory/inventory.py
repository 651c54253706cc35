"""The inventory: every org connection that the newest stored snapshots show."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from itertools import batched, chain
from typing import Any, NamedTuple
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BooleanField, DateTimeField, Q, QuerySet, TextField, Value

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.inventory import protections
from connections.inventory.rate_limits import OrgKey
from connections.inventory.sync_schedule import next_sync_at
from connections.inventory.syncs import (
    credentials_in_use,
    is_stale,
    newest_complete_syncs,
    newest_syncs,
)
from connections.models import (
    OPEN_STATES,
    Change,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Protection,
    Sync,
)

ROWS_PER_QUERY = 500
ALL = Q()


@dataclass(frozen=True, kw_only=True)
class InventoryFilter:
    """Which connections to show. An empty field filters nothing."""

    site: str = ""
    # "<site>/<org id>" of the source or the destination org.
    org: str = ""
    connection_type: str = ""
    text: str = ""
    # "yes" or "no".
    protected: str = ""
    # "disabled" for connections whose creator's account is disabled.
    creator: str = ""
    # Only connections that changed in the last this many days: a number.
    changed: str = ""
    # Words in the org's name or ID.
    source: str = ""
    destination: str = ""

    def select(
        self,
        connections: Iterable["ListedConnection"],
        *,
        protected: Container["_StoredKey"],
        changed: Container["_StoredKey"],
    ) -> list["ListedConnection"]:
        """The connections that match every field.

        `protected` has the keys of protected connections, and `changed` of recently changed ones.
        """
        found = list(connections)
        if self.site:
            found = [each for each in found if each.site == self.site]
        if self.org:
            site, _, org_id = self.org.partition("/")
            found = [
                each
                for each in found
                if each.site == site and org_id in {each.source_org.org_id, each.sink_org.org_id}
            ]
        if self.connection_type:
            found = [each for each in found if self.connection_type in each.types]
        if self.protected:
            wanted = self.protected == "yes"
            found = [each for each in found if (each.key in protected) == wanted]
        if self.creator:
            found = [each for each in found if each.creator_is_disabled]
        if self.changed:
            found = [each for each in found if each.key in changed]
        if self.source:
            found = [each for each in found if each.source_org.matches(self.source)]
        if self.destination:
            found = [each for each in found if each.sink_org.matches(self.destination)]
        if self.text:
            words = self.text.casefold().split()
            found = [each for each in found if each.contains_words(words)]
        return found


class KnownOrg(NamedTuple):
    """A Datadog org. Two orgs can have the same name, even on one site."""

    site: str
    org_id: str
    name: str

    @property
    def key(self) -> str:
        """The org in filters and addresses: "<site>/<org id>"."""
        return f"{self.site}/{self.org_id}"

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """Sorts orgs by name."""
        return self.name.casefold(), self.site, self.org_id

    def matches(self, text: str) -> bool:
        """Whether each word of the text appears in the name or the ID."""
        return _contains_words(f"{self.name}\n{self.org_id}", text)


# The site and ID of a connection, with the ID as `fetch_stored` returns it.
type _StoredKey = tuple[str, str]


class ListedConnection(NamedTuple):
    """The part of a connection that filters and sorting need, without a model object for each.

    IDs and times are as `fetch_stored` returns them. Converting those of 10,000 connections takes
    five times as long as querying them.
    """

    site: str
    stored_id: str
    snapshot_id: int
    # The org whose data is shared. Its connections have one object in common.
    source_org: KnownOrg
    # The org that queries the data.
    sink_org: KnownOrg
    # A JSON array.
    stored_types: str
    # Read only if the inventory is searched or sorted by it, or asked for it; otherwise None.
    creator_name: str | None = None
    # Read only if the inventory is sorted by it; otherwise None.
    created_at: Any = None
    # As the database stores it. Read only if the inventory is filtered by it; otherwise None.
    creator_is_disabled: Any = None

    @property
    def key(self) -> _StoredKey:
        """Identifies the connection by site and ID."""
        return self[:2]

    @property
    def connection_id(self) -> UUID:
        """Datadog's ID of the connection."""
        return UUID(self.stored_id)

    @property
    def types(self) -> list[str]:
        """The data types."""
        return parse_types(self.stored_types)

    def contains_words(self, words: Iterable[str]) -> bool:
        """Whether each of these case-folded words appears in a name, the ID or a data type."""
        names = (self.source_org.name, self.sink_org.name, self.creator_name or "", *self.types)
        searched = "\n".join(names).casefold()
        return all(word in searched or self._has_in_id(word) for word in words)

    def _has_in_id(self, word: str) -> bool:
        # Rarely true, and faster than writing the ID with hyphens, which SQLite doesn't store.
        is_possible = word.replace("-", "") in self.stored_id.replace("-", "")
        return is_possible and word in str(self.connection_id)


# As ListedConnection._make, in a third of the time.
_as_connection = partial(tuple.__new__, ListedConnection)


@lru_cache(maxsize=1000)
def parse_types(stored: str) -> list[str]:
    """The data types in a stored JSON array. The list is shared, so don't change it."""
    types: list[str] = json.loads(stored)
    return types


# A filter checks the same few orgs for each of their connections.
@lru_cache(maxsize=1000)
def _contains_words(searched: str, text: str) -> bool:
    """Whether each word of the text appears in one of the searched texts, ignoring case."""
    folded = searched.casefold()
    return all(word in folded for word in text.casefold().split())


# What the inventory can be sorted by. Equal connections stay sorted by source.
SORT_KEYS: dict[str, Callable[[ListedConnection], Any]] = {
    "source": lambda listed: listed.source_org.name.casefold(),
    "destination": lambda listed: listed.sink_org.name.casefold(),
    "site": lambda listed: listed.site,
    "created": lambda listed: (listed.created_at is not None, listed.created_at),
    "creator": lambda listed: (listed.creator_name or "").casefold(),
}
# In addition, the number of credentials that list it.
VISIBLE = "visible"


def _sort(connections: list[ListedConnection], *, sort: str, listings: Counter[_StoredKey]) -> None:
    """Sort by source and destination, then as in `build_inventory`.

    `listings` says how many credentials list each connection.
    """
    fold = cache(str.casefold)
    connections.sort(
        key=lambda listed: (
            fold(listed.source_org.name),
            fold(listed.sink_org.name),
            listed.site,
            listed.stored_id,
        )
    )
    column, is_descending = sort.removeprefix("-"), sort.startswith("-")
    if column == VISIBLE:
        connections.sort(key=lambda listed: listings[listed.key], reverse=is_descending)
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
            key=lambda credential: sender_sort_key(credential, of=self.snapshot),
        )


def sender_sort_key(credential: Credential, *, of: OrgConnectionSnapshot) -> tuple[bool, bool, str]:
    """Sorts the credentials that can delete a connection: the source side's first."""
    return (
        credential.org_id != of.source_org_id,
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
    oldest_at: datetime | None
    # When the first automatic sync is due.
    next_sync_at: datetime | None
    # Whether some org should be synced.
    is_stale: bool

    @property
    def synced_orgs(self) -> int:
        """How many orgs were synced. One org can have several credentials."""
        return len({OrgKey.of(sync.credential) for sync in self.listed})


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The matching connections, the choices for each filter, and the coverage."""

    matches: list[ListedConnection]
    total: int
    # By name.
    orgs: list[KnownOrg]
    connection_types: list[str]
    coverage: Coverage
    # The visible credentials in use, by the stored form of their ID.
    credentials: dict[str, Credential]
    protections: dict[OrgConnectionKey, Protection]
    # Protections of connections that are not currently listed, newest first.
    unlisted_protections: list[Protection]
    # The snapshots that the connections were read from.
    current: QuerySet[OrgConnectionSnapshot]
    # When this was read from the database, by its clock.
    at: datetime

    def load_rows(self, connections: Sequence[ListedConnection]) -> Iterator[InventoryRow]:
        """The rows of some of the matches, in their order."""
        complete = {stored_id(sync.credential_id) for sync in self.coverage.listed}
        for batch in batched(connections, ROWS_PER_QUERY):
            snapshots = OrgConnectionSnapshot.objects.in_bulk(
                [listed.snapshot_id for listed in batch]
            )
            credential_ids = self._find_credentials(batch)
            for listed in batch:
                snapshot = snapshots[listed.snapshot_id]
                yield InventoryRow(
                    snapshot=snapshot,
                    listed_by=[self.credentials[pk] for pk in credential_ids[listed.key]],
                    is_up_to_date=not complete.isdisjoint(credential_ids[listed.key]),
                    protection=self.protections.get(snapshot.key),
                )

    def _find_credentials(
        self, connections: Sequence[ListedConnection]
    ) -> dict[_StoredKey, list[str]]:
        """The credentials that list these connections, the one with the newest snapshot first."""
        snapshots = self.current.filter(
            site__in={each.site for each in connections},
            connection_id__in=[each.connection_id for each in connections],
        )
        rows = snapshots.values_list("last_seen_at", "id", "site", "connection_id", "credential_id")
        listed_by: dict[_StoredKey, list[str]] = defaultdict(list)
        # Sorted here, because SQLite would otherwise read all current snapshots in that order.
        for *_, site, connection_id, credential in sorted(fetch_stored(rows), reverse=True):
            # A credential can have been added since those in use were read.
            if credential in self.credentials:
                listed_by[site, connection_id].append(credential)
        return listed_by


def build_inventory(
    *,
    actor: Actor,
    filters: InventoryFilter,
    sort: str = "source",
    within: Q = ALL,
    with_creators: bool = False,
) -> Inventory:
    """The inventory from the newest stored snapshots; no request. Raises PermissionDenied.

    `sort` is one of SORT_KEYS or VISIBLE, after "-" for the opposite order. Only snapshots `within`
    are read: its total and its choices are of those. `with_creators` reads their creators too.
    """
    permissions.require(permissions.can_see(actor), "see org connections")
    now = clock.now()
    in_use = {credential.pk: credential for credential in credentials_in_use(actor=actor)}
    newest = {pk: each for pk, each in newest_syncs(now=now).items() if pk in in_use}
    for listing in newest.values():
        listing.credential = in_use[listing.credential_id]
    active = visibility.visible_protections(protections.active_protections(), actor=actor)
    credentials = {stored_id(pk): credential for pk, credential in in_use.items()}
    current = current_snapshots(actor=actor).filter(within)
    column = sort.removeprefix("-")
    listings: Counter[_StoredKey] = Counter()
    connections = _read_connections(
        current,
        listings=listings if column == VISIBLE else None,
        with_creators=with_creators or bool(filters.text) or column == "creator",
        with_creation=column == "created",
        with_disabled_creators=bool(filters.creator),
    )
    protected = {(key.site, stored_id(key.connection_id)): each for key, each in active.items()}
    changed = _find_changed(connections, filters=filters, now=now)
    matches = filters.select(connections.values(), protected=protected, changed=changed)
    _sort(matches, sort=sort, listings=listings)
    orgs = _known_orgs(connections.values())
    types = {each.stored_types for each in connections.values()}
    return Inventory(
        matches=matches,
        total=len(connections),
        orgs=orgs,
        connection_types=sorted({kind for stored in types for kind in parse_types(stored)}),
        coverage=_coverage(orgs=orgs, in_use=in_use, newest=newest, now=now),
        credentials=credentials,
        protections=active,
        unlisted_protections=[each for key, each in protected.items() if key not in connections],
        current=current,
        at=now,
    )


def _find_changed(
    connections: Iterable[_StoredKey], *, filters: InventoryFilter, now: datetime
) -> set[_StoredKey]:
    """The keys of what recently changed on the connections' sites, if the filter uses that."""
    if not filters.changed:
        return set()
    sites = {site for site, _ in connections}
    since = now - timedelta(days=int(filters.changed))
    # Without DISTINCT, because with it SQLite would read all changes ever recorded.
    changes = Change.objects.filter(site__in=sites, detected_at__gte=since).order_by()
    return {(site, pk) for site, pk in fetch_stored(changes.values_list("site", "connection_id"))}


def iterate_rows(*, actor: Actor, filters: InventoryFilter) -> Iterator[InventoryRow]:
    """Every matching connection, by source. Raises PermissionDenied."""
    inventory = build_inventory(actor=actor, filters=filters)
    return inventory.load_rows(inventory.matches)


def stored_id(value: UUID) -> str:
    """The ID as `fetch_stored` returns it: PostgreSQL writes it with hyphens."""
    return str(value) if connection.vendor == "postgresql" else value.hex


def fetch_stored(rows: QuerySet[Any, Any]) -> list[tuple[Any, ...]]:
    """The rows of a `values_list` as the database driver returns them, except that IDs are text."""
    return list(chain.from_iterable(_fetch_batches(rows)))


def _fetch_batches(rows: QuerySet[Any, Any]) -> Iterator[list[tuple[Any, ...]]]:
    try:
        query = rows.query.sql_with_params()
    except EmptyResultSet:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            from psycopg.types.string import TextLoader

            cursor.adapters.register_loader("uuid", TextLoader)
        cursor.execute(*query)
        while batch := cursor.fetchmany(ROWS_PER_QUERY):
            yield batch


def current_snapshots(*, actor: Actor) -> QuerySet[OrgConnectionSnapshot]:
    """The visible snapshots of credentials in use that the newest syncs listed."""
    retired = Credential.objects.exclude(retired_at=None)
    current = OrgConnectionSnapshot.objects.filter(is_current=True).order_by()
    # Not "in" the credentials in use, which would read the rows by credential and then sort them.
    return visibility.visible(current.exclude(credential__in=retired), actor=actor)


def _read_connections(
    current: QuerySet[OrgConnectionSnapshot],
    *,
    listings: Counter[_StoredKey] | None,
    with_creators: bool,
    with_creation: bool,
    with_disabled_creators: bool,
) -> dict[_StoredKey, ListedConnection]:
    """Each connection as its newest snapshot shows it, those with the newest snapshots first.

    If `listings` is given, counts in it how many credentials list each connection.
    """
    rows = current.order_by("-last_seen_at", "-id").values_list(
        "site",
        "connection_id",
        "id",
        "source_org_id",
        "source_org_name",
        "sink_org_id",
        "sink_org_name",
        "connection_types",
        "creator_name" if with_creators else Value(None, TextField()),
        "connection_created_at" if with_creation else Value(None, DateTimeField()),
        "creator_is_disabled" if with_disabled_creators else Value(None, BooleanField()),
    )
    connections: dict[_StoredKey, ListedConnection] = {}
    # One object for each org, not for each of its connections.
    known_org = cache(KnownOrg)
    for batch in _fetch_batches(rows):
        keys = [row[:2] for row in batch]
        if listings is not None:
            # A credential has one current snapshot of a connection.
            listings.update(keys)
        for key, row in zip(keys, batch, strict=True):
            # An org might have been renamed between two snapshots.
            if key not in connections:
                site, pk, number, source_id, source_name, sink_id, sink_name, *others = row
                source = known_org(site, source_id, source_name)
                sink = known_org(site, sink_id, sink_name)
                connections[key] = _as_connection((site, pk, number, source, sink, *others))
    return connections


def _known_orgs(connections: Iterable[ListedConnection]) -> list[KnownOrg]:
    """Both orgs of every connection, each org once, by name; the newest connections come first."""
    found = dict.fromkeys(
        chain.from_iterable((each.source_org, each.sink_org) for each in connections)
    )
    names: dict[tuple[str, str], str] = {}
    for org in found:
        names.setdefault((org.site, org.org_id), org.name)
    return sort_orgs(KnownOrg(*identity, name) for identity, name in names.items())


def sort_orgs(orgs: Iterable[KnownOrg]) -> list[KnownOrg]:
    """The orgs by name."""
    return sorted(orgs, key=lambda org: org.sort_key)


def _coverage(
    *,
    orgs: list[KnownOrg],
    in_use: dict[UUID, Credential],
    newest: dict[UUID, Sync],
    now: datetime,
) -> Coverage:
    own_orgs = {(credential.site, credential.org_id) for credential in in_use.values()}
    failed = [listing for listing in newest.values() if not listing.is_complete]
    pinned = [credential for credential in in_use.values() if credential.org_id]
    return Coverage(
        listed=[listing for listing in newest.values() if listing.is_complete],
        failed=failed,
        last_complete=newest_complete_syncs(newest, now=now),
        never_listed=[credential for credential in in_use.values() if credential.pk not in newest],
        unknown_orgs=[org for org in orgs if (org.site, org.org_id) not in own_orgs],
        oldest_at=min((listing.started_at for listing in newest.values()), default=None),
        next_sync_at=next_sync_at(in_use.values()),
        is_stale=any(is_stale(newest.get(credential.pk), now=now) for credential in pinned),
    )


def find_open_deletions(
    connections: Iterable[ListedConnection], *, actor: Actor
) -> dict[OrgConnectionKey, Deletion]:
    """The visible open deletions of these connections."""
    ids = [each.connection_id for each in connections]
    deletions = Deletion.objects.filter(connection_id__in=ids, state__in=OPEN_STATES)
    return {deletion.key: deletion for deletion in visibility.visible(deletions, actor=actor)}
