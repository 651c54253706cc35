"""Rows of the inventory, and the syncs behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from connections.access.actor import Actor
from connections.core.causes import failure_text
from connections.core.text import join_some_names, pluralize
from connections.inventory.inventory import Inventory, InventoryRow, find_open_deletions
from connections.inventory.matching import ListedConnection
from connections.inventory.rate_limits import OrgKey
from connections.models import Deletion, Sync
from connections.web.agreed import AgreedView, agreed_view
from connections.web.badges import Badge, ConnectionStatus
from connections.web.deletions.detail import confirm_url

# How many failed orgs a message names per cause.
MAX_NAMES = 5


# What the list says of selected rows: the name of a fact, and its words for one row and for many.
_PROTECTED, _AUDIT, _OPEN = "protected", "audit", "open"
SELECTED_FACTS = (
    (_PROTECTED, "protected", "protected"),
    (_AUDIT, "shares audit events", "share audit events"),
    (_OPEN, "open deletion", "open deletions"),
)


@dataclass(frozen=True, kw_only=True)
class ConnectionRowView:
    """One row of the table."""

    row: InventoryRow
    delete_url: str
    listed_by: str
    deletion: Deletion | None
    agreed: AgreedView
    # Exceptions only, by the name of a ConnectionStatus.
    flags: dict[str, Badge]
    # Names of SELECTED_FACTS.
    facts: str


def connection_row_views(
    inventory: Inventory, connections: Sequence[ListedConnection], *, actor: Actor
) -> list[ConnectionRowView]:
    """The rows of some of the inventory's connections."""
    deletions = find_open_deletions(connections, actor=actor)
    return [
        _row_view(
            row,
            deletion=deletions.get(row.snapshot.key),
            actor=actor,
            today=inventory.at.date(),
        )
        for row in inventory.load_rows(connections)
    ]


def _row_view(
    row: InventoryRow, *, deletion: Deletion | None, actor: Actor, today: date
) -> ConnectionRowView:
    """One row. A connection that is protected or has an open deletion gets no link to delete it."""
    delete_url, snapshot = "", row.snapshot
    sender = row.default_credential(actor=actor)
    if sender and deletion is None and row.protection is None:
        delete_url = confirm_url(credential=sender.pk, connection_id=snapshot.connection_id)
    return ConnectionRowView(
        row=row,
        delete_url=delete_url,
        listed_by=", ".join(sorted(credential.name for credential in row.listed_by)),
        deletion=deletion,
        agreed=agreed_view(row.agreement, snapshot.connection_types, today=today),
        flags={
            status.name: status.value
            for status, applies in (
                (ConnectionStatus.OUT_OF_DATE, not row.is_up_to_date),
                (ConnectionStatus.CREATOR_DISABLED, snapshot.creator_is_disabled),
                (ConnectionStatus.PROTECTED, row.protection),
            )
            if applies
        },
        facts=" ".join(
            name
            for name, is_true in (
                (_PROTECTED, row.protection),
                (_AUDIT, "audit" in snapshot.connection_types),
                (_OPEN, deletion),
            )
            if is_true
        ),
    )


def sync_text(listings: list[Sync]) -> str:
    """The result of syncing these orgs: how many succeeded, which failed, and why."""
    complete = len({OrgKey.of(listing.credential) for listing in listings if listing.is_complete})
    failed = sorted((listing for listing in listings if not listing.is_complete), key=_by_name)
    if not listings:
        return "Nothing was synced: Datadog accepts no credential's keys."
    synced = f"{pluralize(complete, 'org')} synced" if complete else "Sync failed"
    sentences = [f"{synced}, {len(failed)} failed." if complete and failed else f"{synced}."]
    names: dict[str, list[str]] = {}
    for listing in failed:
        why = failure_text(cause=listing.cause, http_status=listing.http_status)
        names.setdefault(why, []).append(listing.credential.name)
    sentences += [
        f"{join_some_names(those, limit=MAX_NAMES)}: {why}" for why, those in names.items()
    ]
    if failed:
        sentences.append("Older data is shown.")
    return " ".join(sentences)


def _by_name(sync: Sync) -> str:
    return sync.credential.name.casefold()
