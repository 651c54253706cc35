"""What the newest syncs show of connections, limited to what a decision covers."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from connections.inventory.matching import KnownOrg, ListedConnection
from connections.models import (
    AccessReviewRow,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    covered_values,
    review_digest_of,
)
from connections.models.text_columns import (
    CONNECTION_COLUMNS,
    AsText,
    HexId,
    HexKey,
    parse_types,
)


class _Listing(NamedTuple):
    """One snapshot: how one credential lists, or last listed, a connection."""

    site: str
    hex_id: str
    snapshot_id: int
    source_org_id: str
    source_org_name: str
    sink_org_id: str
    sink_org_name: str
    # A JSON array.
    types_text: str
    creator_name: str
    # As text.
    created_at: str | None
    creator_is_disabled: bool | None
    creator_id: str
    # As HexId.
    credential_id: str
    # When the credential was retired, so that no sync reads it any longer.
    retired_at: datetime | None

    @property
    def key(self) -> HexKey:
        """Identifies the connection."""
        return self[:2]


@dataclass(slots=True)
class CurrentConnection:
    """One connection as last listed: its newest listing, and the creator if any listing has it."""

    newest: _Listing
    # The listing that names the creator. Not every sync reports it.
    named: _Listing
    creator_is_disabled: bool | None
    # False if only retired credentials list it, so no sync reads it any longer.
    is_listed: bool

    @classmethod
    def from_newest(cls, listing: _Listing, *, is_listed: bool) -> "CurrentConnection":
        """The connection as its newest listing shows it."""
        return cls(listing, listing, listing.creator_is_disabled, is_listed)

    def add_older(self, listing: _Listing) -> None:
        """Add what the newer listings don't say of the creator."""
        if listing.creator_id and not self.named.creator_id:
            self.named = listing
            self.creator_is_disabled = listing.creator_is_disabled
        elif listing.creator_id == self.named.creator_id and self.creator_is_disabled is None:
            self.creator_is_disabled = listing.creator_is_disabled

    @property
    def types(self) -> list[str]:
        """The data types."""
        return parse_types(self.newest.types_text)

    @property
    def listed(self) -> ListedConnection:
        """The connection as filters and sorting need it."""
        return as_listed(self.newest)._replace(
            creator_name=self.named.creator_name, creator_is_disabled=self.creator_is_disabled
        )

    @property
    def covered(self) -> dict[str, Any]:
        """What a decision made now covers."""
        return covered_values(
            source_org_id=self.newest.source_org_id,
            sink_org_id=self.newest.sink_org_id,
            connection_types=self.types,
            creator_id=self.named.creator_id,
            creator_is_disabled=self.creator_is_disabled,
        )

    @property
    def digest(self) -> str:
        """The digest of what a decision made now covers."""
        connection_id = str(UUID(self.newest.hex_id))
        return review_digest_of(
            site=self.newest.site, connection_id=connection_id, covered=self.covered
        )

    @property
    def short_digest(self) -> str:
        """The part of the digest that a page has for each row: enough to notice a change."""
        return self.digest[:16]

    def agrees_with(self, known: "CurrentConnection") -> bool:
        """Whether it agrees with what is known, where an unknown creator agrees with any."""
        own, others = self.covered, known.covered
        must_be_equal = ("source_org_id", "sink_org_id", "connection_types")
        return (
            all(own[name] == others[name] for name in must_be_equal)
            and own["creator_id"] in {"", others["creator_id"]}
            and own["creator_is_disabled"] in {None, others["creator_is_disabled"]}
        )


# The columns that `as_listed` reads.
LISTED_COLUMNS = (*CONNECTION_COLUMNS, AsText("connection_created_at"), "creator_is_disabled")


def as_listed(row: Sequence[Any]) -> ListedConnection:
    """The connection in a row that begins with LISTED_COLUMNS."""
    site, hex_id, number, source_id, source_name, sink_id, sink_name, *others = row
    source, sink = KnownOrg(site, source_id, source_name), KnownOrg(site, sink_id, sink_name)
    return ListedConnection(site, hex_id, number, source, sink, *others[:4])


class CurrentConnections(NamedTuple):
    """Connections as last listed, without those that a sync found gone."""

    # According to the credentials in use, or to retired ones if no credential in use lists it.
    known: dict[HexKey, CurrentConnection]
    # According to the credentials that one person can see.
    visible: dict[HexKey, CurrentConnection]

    def find_decidable(self, key: HexKey) -> CurrentConnection | None:
        """The connection as the person sees it. None if only hidden credentials list it now."""
        visible = self.visible.get(key)
        if visible is None or visible.is_listed != self.known[key].is_listed:
            return None
        return visible


def load_current(which: Q, *, hidden: Collection[UUID] = ()) -> CurrentConnections:
    """The connections that no sync found gone. `hidden` holds the credentials hidden from a person.

    One query.
    """
    listings = _load_listings(OrgConnectionSnapshot.objects.filter(which, is_current=True))
    known = _as_last_listed(listings)
    if not hidden:
        return CurrentConnections(known=known, visible=known)
    hidden_ids = {pk.hex for pk in hidden}
    visible = [listing for listing in listings if listing.credential_id not in hidden_ids]
    return CurrentConnections(known=known, visible=_as_last_listed(visible))


def load_snapshots(connections: Collection[CurrentConnection]) -> list[OrgConnectionSnapshot]:
    """The newest snapshot of each connection, in their order, with the creator if any has it.

    One query.
    """
    listings = [listing for current in connections for listing in (current.newest, current.named)]
    snapshots = OrgConnectionSnapshot.objects.in_bulk({listing.snapshot_id for listing in listings})
    for current in connections:
        newest = snapshots[current.newest.snapshot_id]
        named = snapshots[current.named.snapshot_id]
        newest.creator_id, newest.creator_name = named.creator_id, named.creator_name
        newest.creator_is_disabled = current.creator_is_disabled
        newest.creator_is_service_account = named.creator_is_service_account
    return [snapshots[current.newest.snapshot_id] for current in connections]


def load_gone(which: Q) -> dict[HexKey, CurrentConnection]:
    """How credentials last listed connections that syncs have since found gone. One query."""
    newest: dict[tuple[HexKey, str], _Listing] = {}
    for listing in _load_listings(OrgConnectionSnapshot.objects.filter(which, is_current=False)):
        newest.setdefault((listing.key, listing.credential_id), listing)
    return _merge(newest.values(), is_listed=False)


def _load_listings(snapshots: QuerySet[OrgConnectionSnapshot]) -> list[_Listing]:
    """These snapshots, newest first."""
    rows = snapshots.order_by("-last_seen_at", "-id").values_list(
        *LISTED_COLUMNS, "creator_id", HexId("credential_id"), "credential__retired_at"
    )
    return [_Listing(*row) for row in rows]


def _as_last_listed(listings: Sequence[_Listing]) -> dict[HexKey, CurrentConnection]:
    """What credentials in use list takes precedence over what retired ones listed last."""
    in_use = [listing for listing in listings if listing.retired_at is None]
    retired = [listing for listing in listings if listing.retired_at is not None]
    return _merge(retired, is_listed=False) | _merge(in_use, is_listed=True)


def _merge(listings: Iterable[_Listing], *, is_listed: bool) -> dict[HexKey, CurrentConnection]:
    """Merges the listings of each connection, newest first, into one connection."""
    connections: dict[HexKey, CurrentConnection] = {}
    for listing in listings:
        current = connections.get(listing.key)
        if current:
            current.add_older(listing)
        else:
            connections[listing.key] = CurrentConnection.from_newest(listing, is_listed=is_listed)
    return connections


def is_last_listed(by: Q, *, site: OuterRef, connection_id: OuterRef) -> Q:
    """Whether the snapshots `by` have the connection as last listed.

    It is the condition of `find_decidable` for a query.
    """
    current = OrgConnectionSnapshot.objects.filter(is_current=True)
    in_use = current.filter(
        site=OuterRef("site"),
        connection_id=OuterRef("connection_id"),
        credential__retired_at=None,
    )
    of_connection = current.filter(site=site, connection_id=connection_id)
    return Q(Exists(of_connection.filter(by, Q(credential__retired_at=None) | ~Exists(in_use))))


def deciding_credentials(
    keys: Collection[OrgConnectionKey],
) -> dict[OrgConnectionKey, set[UUID]]:
    """For each connection, the credentials that let a reviewer who sees one of them decide on it.

    A connection that syncs found gone has no entry.
    """
    snapshots = OrgConnectionSnapshot.objects.filter(
        about_connections(keys), is_current=True
    ).order_by()
    in_use = defaultdict[OrgConnectionKey, set[UUID]](set)
    retired = defaultdict[OrgConnectionKey, set[UUID]](set)
    for site, connection_id, credential_id, retired_at in snapshots.values_list(
        "site", "connection_id", "credential", "credential__retired_at"
    ):
        key = OrgConnectionKey(site=site, connection_id=connection_id)
        (retired if retired_at else in_use)[key].add(credential_id)
    return retired | in_use


def about_reviews(reviews: Collection[UUID], *, prefix: str = "", **which: str) -> Q:
    """A filter for rows about the connections of access reviews, like `about_connections`.

    `which` filters the access reviews' rows.
    """
    rows = AccessReviewRow.objects.filter(review__in=reviews, **which)
    # The sites let the query use an index that begins with them.
    return Q(
        (f"{prefix}site__in", rows.order_by().values("site")),
        (f"{prefix}connection_id__in", rows.order_by().values("connection_id")),
    )


def about_connections(keys: Collection[OrgConnectionKey], *, prefix: str = "") -> Q:
    """A filter for rows about these connections, or about the same ID on another of their sites.

    `prefix` precedes the names of the fields that identify the connection.
    """
    ids = [key.connection_id for key in keys]
    # The sites let the query use an index that begins with them.
    sites = {key.site for key in keys}
    return Q((f"{prefix}site__in", sites), (f"{prefix}connection_id__in", ids))
