"""What the newest syncs show of connections, limited to what a decision covers."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet

from connections.inventory.inventory import fetch_stored, parse_types, stored_id
from connections.models import (
    AccessReviewRow,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    covered_values,
    review_digest_of,
)


class CurrentConnection(NamedTuple):
    """One connection as last listed: its newest snapshot, and the creator if any snapshot has it.

    IDs have the form that `fetch_stored` returns, as in `inventory.ListedConnection`.
    """

    site: str
    stored_id: str
    snapshot_id: int
    # The snapshot that names the creator. Not every sync reports it.
    creator_snapshot_id: int
    source_org_id: str
    sink_org_id: str
    # A JSON array.
    stored_types: str
    creator_id: str
    creator_name: str
    creator_is_disabled: bool | None
    # False if only retired credentials list it, so no sync reads it any longer.
    is_listed: bool

    @property
    def key(self) -> OrgConnectionKey:
        """Identifies the connection by site and ID."""
        return OrgConnectionKey(site=self.site, connection_id=UUID(self.stored_id))

    @property
    def types(self) -> list[str]:
        """The data types."""
        return parse_types(self.stored_types)

    @property
    def covered(self) -> dict[str, Any]:
        """What a decision made now covers."""
        return covered_values(
            source_org_id=self.source_org_id,
            sink_org_id=self.sink_org_id,
            connection_types=self.types,
            creator_id=self.creator_id,
            creator_is_disabled=self.creator_is_disabled,
        )

    @property
    def digest(self) -> str:
        """The digest of what a decision made now covers."""
        return review_digest_of(
            site=self.site, connection_id=str(self.key.connection_id), covered=self.covered
        )

    def agrees_with(self, known: "CurrentConnection") -> bool:
        """Whether it agrees with what is known, where an unknown creator agrees with any."""
        return (
            (self.source_org_id, self.sink_org_id) == (known.source_org_id, known.sink_org_id)
            and self.covered["connection_types"] == known.covered["connection_types"]
            and self.creator_id in {"", known.creator_id}
            and self.creator_is_disabled in {None, known.creator_is_disabled}
        )


type StoredKey = tuple[str, str]


class CurrentConnections(NamedTuple):
    """Connections as last listed, by site and stored ID, without those that a sync found gone."""

    # According to the credentials in use, or to retired ones if no credential in use lists it.
    known: dict[StoredKey, CurrentConnection]
    # According to the credentials that one person can see.
    visible: dict[StoredKey, CurrentConnection]

    def find_decidable(self, key: StoredKey) -> CurrentConnection | None:
        """The connection as the person sees it. None if only hidden credentials list it now."""
        visible = self.visible.get(key)
        if visible is None or visible.is_listed != self.known[key].is_listed:
            return None
        return visible


def load_current(*, of: Q, hidden: Collection[UUID] = ()) -> CurrentConnections:
    """The connections that no sync found gone. `hidden` holds the credentials hidden from a person.

    One query.
    """
    rows = _fetch(OrgConnectionSnapshot.objects.filter(of, is_current=True))
    known = _as_last_listed(rows)
    if not hidden:
        return CurrentConnections(known=known, visible=known)
    not_visible = {stored_id(pk) for pk in hidden}
    visible = _as_last_listed([row for row in rows if row[-2] not in not_visible])
    return CurrentConnections(known=known, visible=visible)


def load_snapshots(connections: Collection[CurrentConnection]) -> list[OrgConnectionSnapshot]:
    """The newest snapshot of each connection, in their order, with the creator if any has it.

    One query.
    """
    snapshots = OrgConnectionSnapshot.objects.in_bulk(
        {pk for each in connections for pk in (each.snapshot_id, each.creator_snapshot_id)}
    )
    for each in connections:
        newest, named = snapshots[each.snapshot_id], snapshots[each.creator_snapshot_id]
        newest.creator_id, newest.creator_name = named.creator_id, named.creator_name
        newest.creator_is_disabled = each.creator_is_disabled
        newest.creator_is_service_account = named.creator_is_service_account
    return [snapshots[each.snapshot_id] for each in connections]


def load_gone(*, of: Q) -> dict[StoredKey, CurrentConnection]:
    """How credentials last listed connections that syncs have since found gone. One query."""
    newest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in _fetch(OrgConnectionSnapshot.objects.filter(of, is_current=False)):
        site, connection_id, credential_id = row[0], row[1], row[-2]
        newest.setdefault((site, connection_id, credential_id), row)
    return _merge(newest.values(), is_listed=False)


def _fetch(snapshots: QuerySet[OrgConnectionSnapshot]) -> list[tuple[Any, ...]]:
    """What a decision covers of these snapshots, newest first."""
    return fetch_stored(
        snapshots.order_by("-last_seen_at", "-id").values_list(
            "site",
            "connection_id",
            "id",
            "source_org_id",
            "sink_org_id",
            "connection_types",
            "creator_id",
            "creator_name",
            "creator_is_disabled",
            "credential_id",
            "credential__retired_at",
        )
    )


def _as_last_listed(rows: Sequence[tuple[Any, ...]]) -> dict[StoredKey, CurrentConnection]:
    """What credentials in use list takes precedence over what retired ones listed last."""
    retired = _merge((row for row in rows if row[-1] is not None), is_listed=False)
    return retired | _merge((row for row in rows if row[-1] is None), is_listed=True)


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


def about_reviews(reviews: Collection[UUID], **which: str) -> Q:
    """A filter for the snapshots of access reviews' connections. `which` filters their rows."""
    rows = AccessReviewRow.objects.filter(review__in=reviews, **which)
    # The sites let the query use an index that begins with them.
    return Q(
        ("site__in", rows.order_by().values("site")),
        ("connection_id__in", rows.order_by().values("connection_id")),
    )


def about_connections(keys: Collection[OrgConnectionKey], *, prefix: str = "") -> Q:
    """A filter for rows about these connections, or about the same ID on another of their sites.

    `prefix` precedes the names of the fields that identify the connection.
    """
    ids = [key.connection_id for key in keys]
    # The sites let the query use an index that begins with them.
    sites = {key.site for key in keys}
    return Q((f"{prefix}site__in", sites), (f"{prefix}connection_id__in", ids))


def _merge(rows: Iterable[Sequence[Any]], *, is_listed: bool) -> dict[StoredKey, CurrentConnection]:
    """Merges the snapshots of each connection, newest first, into one connection."""
    found: dict[StoredKey, CurrentConnection] = {}
    for site, stored, pk, source, sink, types, creator, name, disabled, *_ in rows:
        is_disabled = None if disabled is None else bool(disabled)
        newest = found.get((site, stored))
        if newest is None:
            found[site, stored] = CurrentConnection(
                site, stored, pk, pk, source, sink, types, creator, name, is_disabled, is_listed
            )
        elif not newest.creator_id and creator:
            found[site, stored] = newest._replace(
                creator_snapshot_id=pk,
                creator_id=creator,
                creator_name=name,
                creator_is_disabled=is_disabled,
            )
        elif newest.creator_id == creator and newest.creator_is_disabled is None:
            found[site, stored] = newest._replace(creator_is_disabled=is_disabled)
    return found
