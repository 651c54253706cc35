"""The pre-send check: whether what Datadog lists now is what was reviewed."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import UnavailableError
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.models import Deletion, SnapshotFields, snapshot_digest

# The deadline of a check that a page waits for (s).
PAGE_SECONDS = 4.0


class RecheckResult(StrEnum):
    """What one sync says about a connection that was reviewed."""

    SAME = "same"
    CHANGED = "changed"
    ABSENT = "absent"  # a complete listing lacks it
    UNREADABLE = "unreadable"  # the sync failed, so only the stored snapshot is known


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that changed since the request. `is_binding`: the approval covers it."""

    field: str
    was: str
    now: str
    is_binding: bool = True


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What one sync says, when it began, and why it failed where it did."""

    result: RecheckResult
    at: datetime | None
    listed: SnapshotFields | None = None
    changes: tuple[FieldChange, ...] = ()
    cause: str = ""

    @property
    def can_be_approved(self) -> bool:
        """Whether, as far as is known, what was requested is still what would be deleted."""
        return self.result in {RecheckResult.SAME, RecheckResult.UNREADABLE}


def preview_recheck(*, deletion: Deletion) -> Recheck:
    """Sync within PAGE_SECONDS for the page of an approver, and store nothing."""
    started_at = clock.now()
    try:
        client = sync.open_client(credential=deletion.credential)
    except UnavailableError as error:
        result = SyncResult(cause=error.cause, started_at=started_at)
        return compare(deletion=deletion, result=result)
    result = sync.fetch_connections(
        client=client,
        org_id=deletion.credential.org_id,
        deadline_seconds=PAGE_SECONDS,
        find=deletion.connection_id,
    )
    return compare(deletion=deletion, result=replace(result, started_at=started_at))


def recheck_and_store(*, deletion: Deletion, actor: Actor) -> Recheck:
    """Sync for the approval itself and store the result, so that a review shows it too."""
    try:
        result = sync.sync_org(credential=deletion.credential, actor=actor)
    except UnavailableError as error:
        result = SyncResult(cause=error.cause)
    return compare(deletion=deletion, result=result)


def compare(*, deletion: Deletion, result: SyncResult) -> Recheck:
    """Compare what one sync listed with what was reviewed. A pure function."""
    item = result.find(deletion.connection_id)
    if item is None:
        missing = RecheckResult.ABSENT if result.is_complete else RecheckResult.UNREADABLE
        return Recheck(result=missing, at=result.started_at, cause=result.cause)
    listed = sync.snapshot_fields(item)
    digest = snapshot_digest(
        site=deletion.site, connection_id=str(deletion.connection_id), fields=listed
    )
    is_same = digest == deletion.digest
    return Recheck(
        result=RecheckResult.SAME if is_same else RecheckResult.CHANGED,
        at=result.started_at,
        listed=listed,
        changes=_changes(deletion, listed),
    )


def _changes(before: SnapshotFields, after: SnapshotFields) -> tuple[FieldChange, ...]:
    pairs = zip(_compared_fields(before), _compared_fields(after), strict=True)
    return tuple(
        FieldChange(field=field, was=was, now=now, is_binding=is_binding)
        for (field, was, is_binding), (_, now, _) in pairs
        if was != now
    )


def _compared_fields(fields: SnapshotFields) -> list[tuple[str, str, bool]]:
    """Each field's label, its value as text, and whether it changes what a deletion does."""
    disabled = {True: "disabled", False: "active", None: ""}[fields.creator_is_disabled]
    return [
        ("Source org", fields.source_org_name, True),
        ("Source org id", fields.source_org_id, True),
        ("Destination org", fields.sink_org_name, True),
        ("Destination org id", fields.sink_org_id, True),
        ("Types", ", ".join(sorted(fields.connection_types)), True),
        ("Created by", fields.creator_name, False),
        ("Its creator is", disabled, False),
    ]
