"""The export of the inventory: one row per org connection."""

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.export import Export
from connections.core.tabular import Row, as_time
from connections.inventory.inventory import InventoryFilter, InventoryRow, iterate_rows

CONNECTION_COLUMNS = (
    "id",
    "site",
    "source_org",
    "source_org_id",
    "sink_org",
    "sink_org_id",
    "connection_types",
    "created_at",
    "created_by",
    "created_by_disabled",
    "created_by_service_account",
    "seen_by",
    "as_of",
    "protected",
)


def connection_row(row: InventoryRow) -> Row:
    """One org connection; `as_of` is the time of its newest snapshot."""
    snapshot = row.snapshot
    return {
        "id": str(snapshot.connection_id),
        "site": snapshot.site,
        "source_org": {"id": snapshot.source_org_id, "name": snapshot.source_org_name},
        "source_org_id": snapshot.source_org_id,
        "sink_org": {"id": snapshot.sink_org_id, "name": snapshot.sink_org_name},
        "sink_org_id": snapshot.sink_org_id,
        "connection_types": snapshot.connection_types,
        "created_at": as_time(snapshot.connection_created_at),
        "created_by": {
            "id": snapshot.creator_id,
            "name": snapshot.creator_name,
            "disabled": snapshot.creator_is_disabled,
            "service_account": snapshot.creator_is_service_account,
        },
        "created_by_disabled": snapshot.creator_is_disabled,
        "created_by_service_account": snapshot.creator_is_service_account,
        "seen_by": [credential.name for credential in row.seen_by],
        "as_of": as_time(snapshot.last_seen_at),
        "protected": row.protection is not None,
    }


def prepare_export(
    *, actor: Actor, filters: InventoryFilter, file_format: str, query: str
) -> Export:
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
        rows=lambda: map(connection_row, iterate_rows(actor=actor, filters=filters)),
        columns=CONNECTION_COLUMNS,
    )
