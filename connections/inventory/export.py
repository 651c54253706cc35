"""The export of the inventory: one row per org connection."""

from typing import Any

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.tabular import Columns, as_time
from connections.exports.export import Export
from connections.inventory.inventory import InventoryRow, iterate_rows
from connections.inventory.matching import InventoryFilter
from connections.inventory.point_in_time import PastConnection
from connections.models import Agreement

# One org connection; `as_of` is the time of its newest snapshot.
CONNECTION_EXPORT_COLUMNS = Columns[InventoryRow](
    {
        "id": lambda row: str(row.snapshot.connection_id),
        "site": lambda row: row.snapshot.site,
        "source_org": lambda row: row.snapshot.source_org,
        "source_org_id": lambda row: row.snapshot.source_org_id,
        "sink_org": lambda row: row.snapshot.sink_org,
        "sink_org_id": lambda row: row.snapshot.sink_org_id,
        "connection_types": lambda row: row.snapshot.connection_types,
        "created_at": lambda row: as_time(row.snapshot.connection_created_at),
        "created_by": lambda row: row.snapshot.creator,
        "created_by_disabled": lambda row: row.snapshot.creator_is_disabled,
        "created_by_service_account": lambda row: row.snapshot.creator_is_service_account,
        "seen_by": lambda row: [credential.name for credential in row.listed_by],
        "as_of": lambda row: as_time(row.snapshot.last_seen_at),
        "protected": lambda row: row.protection is not None,
        "owner": lambda row: (
            row.agreement and (_username(row.agreement) or row.agreement.owner_text)
        ),
        "purpose": lambda row: row.agreement and row.agreement.purpose,
        "ends_on": lambda row: row.agreement and _last_day(row.agreement),
        "agreed": lambda row: not row.reasons,
        "reasons": lambda row: list(row.reasons),
        "accepted": lambda row: bool(row.agreement and row.agreement.accepted_at),
        "accepted_at": lambda row: row.agreement and as_time(row.agreement.accepted_at),
    }
)

# The same at a past moment; agreements aren't known for one.
PAST_CONNECTION_COLUMNS = Columns[PastConnection](
    {
        "id": lambda row: str(row.snapshot.connection_id),
        "site": lambda row: row.snapshot.site,
        "source_org": lambda row: row.snapshot.source_org,
        "sink_org": lambda row: row.snapshot.sink_org,
        "connection_types": lambda row: row.snapshot.connection_types,
        "created_at": lambda row: as_time(row.snapshot.connection_created_at),
        "created_by": lambda row: row.snapshot.creator,
        "seen_by": lambda row: [credential.name for credential in row.listed_by],
        "as_of": lambda row: as_time(row.as_of),
        "changing": lambda row: row.is_changing,
    }
)


def agreement_document(agreement: Agreement) -> dict[str, Any]:
    """An agreement in the output of a command. People are named by username."""
    set_by = agreement.set_by
    return {
        "owner": _username(agreement),
        "owner_text": agreement.owner_text,
        "purpose": agreement.purpose,
        "ticket": agreement.ticket,
        "ends_on": _last_day(agreement),
        "connection_types": agreement.connection_types,
        "set_by": set_by.get_username() if set_by else agreement.set_by_process,
        "set_at": as_time(agreement.set_at),
    }


def _username(agreement: Agreement) -> str:
    return agreement.owner.get_username() if agreement.owner else ""


def _owner(agreement: Agreement) -> str:
    return _username(agreement) or agreement.owner_text


def _last_day(agreement: Agreement) -> str | None:
    return agreement.ends_on.isoformat() if agreement.ends_on else None


def prepare_export(
    *, actor: Actor, filters: InventoryFilter, file_format: str, query: str
) -> Export[InventoryRow]:
    """An export of every matching connection. Raises PermissionDenied.

    `query` is the filter as the person entered it.
    """
    permissions.require(permissions.can_export(actor), "export org connections")
    return Export(
        actor=actor,
        what="org_connections",
        description="org connections",
        file_format=file_format,
        query=query,
        items=lambda: iterate_rows(actor=actor, filters=filters),
        columns=CONNECTION_EXPORT_COLUMNS,
    )
