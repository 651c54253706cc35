"""The export of the inventory: one row per org connection."""

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.tabular import Columns, as_time
from connections.exports.export import Export
from connections.inventory.inventory import InventoryRow, iterate_rows
from connections.inventory.matching import InventoryFilter

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
    }
)


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
