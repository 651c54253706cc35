"""The summary that an approver sees before deciding, with what changed since the request."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections import wording
from connections.core.text import format_age
from connections.deletions import states, verification
from connections.deletions.verification import FieldChange, Recheck, RecheckResult
from connections.models import Deletion, State
from connections.wording.connections import creator_flags, site_name


@dataclass(frozen=True, kw_only=True)
class ApprovalPreview:
    """The summary. `rows` are pairs of label and value; `tone` is the colour of the note."""

    # What deleting it does; "" for an unreviewed deletion.
    effect: str
    note: str
    tone: str
    icon: str
    # What changed since the request, also fields that the approval doesn't cover.
    changes: tuple[FieldChange, ...]
    rows: list[tuple[str, Any]]
    may_approve: bool


def approval_preview(deletion: Deletion, *, now: datetime) -> ApprovalPreview:
    """The summary, from Datadog's list as it is now. Writes nothing."""
    found = verification.preview_recheck(deletion=deletion)
    note, tone, icon = _note(deletion, found=found)
    effect = wording.effect_text(
        source=deletion.source_org_name,
        sink=deletion.sink_org_name,
        types=deletion.connection_types,
    )
    return ApprovalPreview(
        effect=effect if deletion.is_reviewed else "",
        note=note,
        tone=tone,
        icon=icon,
        changes=found.changes,
        rows=_rows(deletion, now=now),
        may_approve=found.can_be_approved,
    )


def _note(deletion: Deletion, *, found: Recheck) -> tuple[str, str, str]:
    who, read = deletion.requested_by_name, f"Read again at {wording.format_time(found.at)}"
    ask_anew = f"It cannot be approved any more: decline it, and {who} asks anew."
    if deletion.state == State.STILL_PRESENT:
        ask_anew = f"It cannot be approved any more: {who} closes it and requests a new deletion."
    match found.result:
        case RecheckResult.SAME:
            return f"{read}: nothing has changed since {who} asked.", "ok", "check"
        case RecheckResult.CHANGED:
            return f"{read}: it has changed since {who} asked. {ask_anew}", "danger", "warning"
        case RecheckResult.ABSENT:
            return f"{read}: Datadog no longer lists it. {ask_anew}", "danger", "warning"
        case RecheckResult.UNREADABLE if not deletion.is_reviewed:
            stored = f"{who} could not be shown either what it is."
        case RecheckResult.UNREADABLE:
            seen = wording.format_time(deletion.snapshot_at)
            stored = f"You see what was stored at {seen}; it is read again before it is sent."
    why = wording.cause_text(found.cause)
    return f"It could not be read again just now. {why} {stored}", "warn", "warning"


def _rows(deletion: Deletion, *, now: datetime) -> list[tuple[str, Any]]:
    source, sink = deletion.source_org_name, deletion.sink_org_name
    needed = states.approvals_needed(deletion)
    given = [one.approver_name for one in deletion.current_approvals]
    by = f" ({', '.join(given)})" if given else ""
    asked = format_age(deletion.requested_at, now=now)
    return [
        ("Connection", f"{source or '?'} → {sink or '?'}" if deletion.is_reviewed else "not known"),
        ("Types", ", ".join(deletion.connection_types)),
        ("Created", _created(deletion, now=now)),
        ("Why", deletion.reason),
        ("Ticket", deletion.ticket),
        ("Asked by", f"{deletion.requested_by_name}, {asked}"),
        ("Approvals", f"{len(given)} of {needed}{by}"),
        ("Id", f"{deletion.connection_id} on {site_name(deletion.site)}"),
    ]


def _created(deletion: Deletion, *, now: datetime) -> str:
    at = deletion.connection_created_at
    when = f"{at.day} {at:%b %Y} ({format_age(at, now=now)})" if at else ""
    flags = ", ".join(creator_flags(deletion))
    by = f"by {deletion.creator_name}" if deletion.creator_name else ""
    return " ".join(part for part in (when, by, f"({flags})" if by and flags else "") if part)
