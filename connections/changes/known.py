"""What is known about a connection, from a sync or a deletion, and how changes store it."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from connections.core.tabular import as_time
from connections.datadog.payloads import OrgConnection
from connections.models import Deletion, KnownConnection, OrgConnectionSnapshot, Sync

CREATOR_FIELDS = ("creator_id", "creator_name", "creator_is_disabled", "creator_is_service_account")


def known_from(item: OrgConnection, *, sync: Sync) -> KnownConnection:
    """The connection as a sync shows it, not saved."""
    creator = item.created_by
    return KnownConnection(
        site=sync.credential.site,
        connection_id=UUID(item.id),
        source_org_id=item.source_org.id,
        sink_org_id=item.sink_org.id,
        connection_types=list(item.connection_types),
        created_at=item.created_at,
        creator_id=creator.id,
        creator_name=creator.name,
        creator_is_disabled=creator.disabled,
        creator_is_service_account=creator.service_account,
        is_present=True,
        established_at=sync.finished_at,
        last_shown_at=sync.started_at,
    )


def known_from_deletion(deletion: Deletion) -> KnownConnection:
    """The connection as the requester saw it."""
    same = ("site", "connection_id", "source_org_id", "sink_org_id", "connection_types")
    return KnownConnection(
        **{name: getattr(deletion, name) for name in (*same, *CREATOR_FIELDS)},
        created_at=deletion.connection_created_at,
        is_present=False,
        last_shown_at=deletion.snapshot_at or deletion.requested_at,
    )


def creator_state(known: KnownConnection) -> dict[str, Any]:
    """The creator in the form that changes store."""
    return {
        "created_by": {
            "id": known.creator_id or None,
            "name": known.creator_name or None,
            "disabled": known.creator_is_disabled,
            "service_account": known.creator_is_service_account,
        }
    }


def connection_state(known: KnownConnection) -> dict[str, Any]:
    """The connection in the form that changes store."""
    return {
        "connection_id": str(known.connection_id),
        "connection_types": known.connection_types,
        "created_at": as_time(known.created_at),
    } | creator_state(known)


def merge_unknown(*, known: KnownConnection, current: KnownConnection) -> None:
    """Keep known values that the sync left out."""
    current.created_at = current.created_at or known.created_at
    if not current.creator_id:
        current.creator_id = known.creator_id
    if current.creator_id != known.creator_id:
        return
    current.creator_name = current.creator_name or known.creator_name
    if current.creator_is_disabled is None:
        current.creator_is_disabled = known.creator_is_disabled
    if current.creator_is_service_account is None:
        current.creator_is_service_account = known.creator_is_service_account


def keep_what_others_show(
    *, known: KnownConnection, current: KnownConnection, others: Collection[OrgConnectionSnapshot]
) -> None:
    """Keep what is known of the data types and the creator if another credential still lists it.

    Otherwise, lists that contradict each other would be reported as changes at each sync.
    """
    types = {name for other in others for name in other.connection_types}
    types -= set(current.connection_types)
    current.connection_types += [name for name in known.connection_types if name in types]
    is_replaced = known.creator_id != "" and not shows_creator(current, known=known)
    if is_replaced and any(shows_creator(other, known=known) for other in others):
        for name in CREATOR_FIELDS:
            setattr(current, name, getattr(known, name))


def shows_creator(row: KnownConnection | OrgConnectionSnapshot, *, known: KnownConnection) -> bool:
    """Whether the row shows the known creator and, if that account is disabled, that it is."""
    is_disabled = row.creator_is_disabled is True or not known.creator_is_disabled
    return row.creator_id == known.creator_id and is_disabled


def is_another_creator(*, known: KnownConnection, current: KnownConnection) -> bool:
    """Whether the creator is a different user or has become disabled."""
    if known.creator_id and current.creator_id != known.creator_id:
        return True
    return known.creator_is_disabled is False and current.creator_is_disabled is True


def is_widened(*, before: KnownConnection, after: KnownConnection) -> bool:
    """Whether a data type was added."""
    return not set(after.connection_types) <= set(before.connection_types)


def same_creator_fields(*, known: KnownConnection, current: KnownConnection) -> bool:
    """Whether the creators are identical, including their names."""
    return all(getattr(known, name) == getattr(current, name) for name in CREATOR_FIELDS)


def connection_fields(known: KnownConnection, *, names: dict[str, str]) -> dict[str, Any]:
    """The fields of a change that identify its connection. `names` are names of orgs, by ID."""
    return {
        "site": known.site,
        "connection_id": known.connection_id,
        "source_org_id": known.source_org_id,
        "source_org_name": names.get(known.source_org_id, ""),
        "sink_org_id": known.sink_org_id,
        "sink_org_name": names.get(known.sink_org_id, ""),
    }
