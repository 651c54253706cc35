"""Compares what one sync listed with what was requested."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from connections.datadog.payloads import OrgConnection
from connections.models import SnapshotFields


class RecheckResult(StrEnum):
    """What one sync says about a connection that a request is about."""

    SAME = "same"
    CHANGED = "changed"
    ABSENT = "absent"  # a complete list lacks it
    UNREADABLE = "unreadable"  # the sync failed, so only the stored snapshot is known


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that changed since the request.

    `is_binding` says whether the approval covers it.
    """

    field: str
    was: str
    now: str
    is_binding: bool = True


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What one sync says, when it began and, if it failed, why."""

    result: RecheckResult
    at: datetime | None
    listed: SnapshotFields | None = None
    changes: tuple[FieldChange, ...] = ()
    cause: str = ""
    item: OrgConnection | None = None
    # Whether Datadog already is as the request would make it.
    shows_effect: bool = False

    @property
    def can_be_approved(self) -> bool:
        """Whether what was requested is still what would be sent, as far as is known."""
        return self.result in {RecheckResult.SAME, RecheckResult.UNREADABLE}


def changed_fields(before: SnapshotFields, after: SnapshotFields) -> tuple[FieldChange, ...]:
    """The fields that differ."""
    pairs = zip(_compared_fields(before), _compared_fields(after), strict=True)
    return tuple(
        FieldChange(field=field, was=was, now=now, is_binding=is_binding)
        for (field, was, is_binding), (_, now, _) in pairs
        if was != now
    )


def _compared_fields(fields: SnapshotFields) -> list[tuple[str, str, bool]]:
    """Each field's label, its value as text, and whether an approval covers it."""
    disabled = {True: "disabled", False: "active", None: ""}[fields.creator_is_disabled]
    return [
        ("Source org", fields.source_org_name, True),
        ("Source org ID", fields.source_org_id, True),
        ("Destination org", fields.sink_org_name, True),
        ("Destination org ID", fields.sink_org_id, True),
        ("Types", ", ".join(sorted(fields.connection_types)), True),
        ("Created by", fields.creator_name, False),
        ("Creator", disabled, False),
    ]
