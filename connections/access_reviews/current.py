"""What the newest syncs show of connections, as far as a decision of an access review covers it."""

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q, UUIDField

from connections.inventory.inventory import fetch_stored
from connections.models import (
    AccessReview,
    AccessReviewRow,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    covered_values,
    review_digest_of,
)


class CurrentConnection(NamedTuple):
    """One listed connection: its newest snapshot, with the creator that any snapshot names.

    IDs are as the database driver returns them, as in `inventory.ListedConnection`.
    """

    site: str
    stored_id: Any
    snapshot_id: int
    # The snapshot that names the creator: not every sync does.
    creator_snapshot_id: int
    source_org_id: str
    sink_org_id: str
    # A JSON array.
    stored_types: str
    creator_id: str
    creator_is_disabled: bool | None

    @property
    def key(self) -> OrgConnectionKey:
        """Identifies the connection."""
        return OrgConnectionKey(site=self.site, connection_id=UUID(str(self.stored_id)))

    @property
    def covered(self) -> dict[str, Any]:
        """What a decision made now covers."""
        return covered_values(
            source_org_id=self.source_org_id,
            sink_org_id=self.sink_org_id,
            connection_types=_parse_types(self.stored_types),
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
        """Whether it differs from what is known only by an unknown creator."""
        return (
            (self.source_org_id, self.sink_org_id) == (known.source_org_id, known.sink_org_id)
            and self.covered["connection_types"] == known.covered["connection_types"]
            and self.creator_id in {"", known.creator_id}
            and self.creator_is_disabled in {None, known.creator_is_disabled}
        )


@lru_cache(maxsize=1000)
def _parse_types(stored: str) -> list[str]:
    types: list[str] = json.loads(stored)
    return types


type StoredKey = tuple[str, Any]


class Current(NamedTuple):
    """What is listed now, by site and stored ID."""

    # According to every credential in use.
    known: dict[StoredKey, CurrentConnection]
    # According to those that one person can see.
    visible: dict[StoredKey, CurrentConnection]


def load_current(*, of: Q, hidden: Collection[UUID] = ()) -> Current:
    """The connections that a credential in use lists. `hidden`: credentials hidden from a person.

    One query. A connection of a retired credential counts as not listed.
    """
    snapshots = OrgConnectionSnapshot.objects.filter(
        of, is_current=True, credential__retired_at=None
    )
    rows = fetch_stored(
        snapshots.order_by("-last_seen_at", "-id").values_list(
            "site",
            "connection_id",
            "id",
            "source_org_id",
            "sink_org_id",
            "connection_types",
            "creator_id",
            "creator_is_disabled",
            "credential_id",
        )
    )
    known = _merged(rows)
    if not hidden:
        return Current(known=known, visible=known)
    not_visible = {stored_id(pk) for pk in hidden}
    return Current(known=known, visible=_merged(row for row in rows if row[-1] not in not_visible))


def stored_id(value: UUID) -> Any:
    """The ID as the database driver returns it."""
    return UUIDField().get_db_prep_value(value, connection)


def in_review(review: AccessReview) -> Q:
    """The snapshots of the connections of an access review."""
    rows = AccessReviewRow.objects.filter(review=review)
    return Q(connection_id__in=rows.order_by().values("connection_id"))


def of_keys(keys: Collection[OrgConnectionKey], *, prefix: str = "") -> Q:
    """What is about these connections, or about one with the same ID on another of their sites.

    `prefix`: of the fields that name the connection.
    """
    ids = [key.connection_id for key in keys]
    # The sites let the query use an index that begins with them.
    sites = {key.site for key in keys}
    return Q((f"{prefix}site__in", sites), (f"{prefix}connection_id__in", ids))


def _merged(rows: Iterable[Sequence[Any]]) -> dict[StoredKey, CurrentConnection]:
    """One connection for all its snapshots, which come with the newest first."""
    found: dict[StoredKey, CurrentConnection] = {}
    for site, stored, pk, source, sink, types, creator, disabled, _ in rows:
        is_disabled = None if disabled is None else bool(disabled)
        newest = found.get((site, stored))
        if newest is None:
            found[site, stored] = CurrentConnection(
                site, stored, pk, pk, source, sink, types, creator, is_disabled
            )
        elif not newest.creator_id and creator:
            found[site, stored] = newest._replace(
                creator_snapshot_id=pk, creator_id=creator, creator_is_disabled=is_disabled
            )
        elif newest.creator_id == creator and newest.creator_is_disabled is None:
            found[site, stored] = newest._replace(creator_is_disabled=is_disabled)
    return found
