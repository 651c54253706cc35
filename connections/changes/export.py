"""The rows of changes in exports and commands."""

from connections.access import permissions
from connections.access.actor import Actor
from connections.changes.changes import ChangeFilter, ChangeRow, iterate_changes
from connections.core.tabular import AsJson, Columns, Row, as_time
from connections.exports.export import Export
from connections.models import Change


def _org(org_id: str, name: str) -> Row | None:
    return {"id": org_id, "name": name} if org_id else None


def _acknowledged_by(change: Change) -> str | None:
    return change.acknowledged_by.username if change.acknowledged_by else None


# Times are ISO 8601 in UTC.
CHANGE_EXPORT_COLUMNS = Columns[ChangeRow](
    {
        "id": lambda row: str(row.change.pk),
        "kind": lambda row: row.change.kind,
        "site": lambda row: row.change.site,
        "connection_id": lambda row: (
            str(row.change.connection_id) if row.change.connection_id else None
        ),
        "org": lambda row: _org(row.change.org_id, row.change.org_name),
        "source_org": lambda row: _org(row.change.source_org_id, row.change.source_org_name),
        "sink_org": lambda row: _org(row.change.sink_org_id, row.change.sink_org_name),
        "before": lambda row: AsJson(row.before) if row.before else None,
        "after": lambda row: AsJson(row.change.after) if row.change.after else None,
        # This compares with the old state, which can be hidden.
        "widened": lambda row: row.change.widened if row.before else None,
        "needs_attention": lambda row: row.change.needs_attention,
        "detected_at": lambda row: as_time(row.change.detected_at),
        "recorded_at": lambda row: as_time(row.change.recorded_at),
        "earliest_at": lambda row: as_time(row.change.earliest_at),
        "observed_by": lambda row: row.observed_by,
        "deletion": lambda row: str(row.deletion.pk) if row.deletion else None,
        "access_request": lambda row: str(row.access_request.pk) if row.access_request else None,
        "not_checked": lambda row: row.not_checked_by,
        "acknowledged_by": lambda row: _acknowledged_by(row.change),
        "acknowledged_at": lambda row: as_time(row.change.acknowledged_at),
        "note": lambda row: row.change.note or None,
    }
)


def prepare_export(
    *, actor: Actor, filters: ChangeFilter, file_format: str, query: str
) -> Export[ChangeRow]:
    """An export of every visible match, newest first. Raises PermissionDenied.

    `query` is the filter as the person entered it.
    """
    permissions.require(permissions.can_export(actor), "export changes")
    return Export(
        actor=actor,
        what="changes",
        description="changes",
        file_format=file_format,
        query=query,
        items=lambda: iterate_changes(actor=actor, filters=filters),
        columns=CHANGE_EXPORT_COLUMNS,
    )
