"""Texts about changes: what changed, and what is known about why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from connections.changes.losses import FAILING_LIMIT
from connections.core.data_types import in_order
from connections.core.text import format_date, format_limit, format_span, join_names
from connections.models import AccessRequest, Change, Deletion, RequestKind

Kind = Change.Kind
type State = dict[str, Any] | None


def change_title(
    change: Change, *, deletion: Deletion | None, access_request: AccessRequest | None = None
) -> str:
    """What changed, in a few words: "Removed elsewhere", "Widened to audit", "Removed by OPS-41".

    `deletion` is the related one, and `access_request` the one that made the change, if the reader
    can see them.
    """
    match change.kind:
        case Kind.APPEARED | Kind.RECREATED if access_request and not change.needs_attention:
            return _requested_text(access_request)
        case Kind.APPEARED:
            return "Appeared with audit" if _added_audit(change) else "Appeared"
        case Kind.REMOVED if access_request:
            return _requested_text(access_request)
        case Kind.REMOVED if change.deletion_id is None:
            return "Removed elsewhere"
        case Kind.REMOVED if deletion:
            return f"Removed by {_ticket_or_requester(deletion)}"
        case Kind.RECREATED if deletion:
            return "Recreated after deletion"
        case Kind.TYPES_CHANGED if change.widened:
            return "Widened to audit" if _added_audit(change) else "Widened"
        case Kind.TYPES_CHANGED:
            return "Narrowed"
        case Kind.CREATOR_CHANGED if _is_disabled(change.after):
            return "Creator disabled"
    return change.get_kind_display()


def _requested_text(access_request: AccessRequest) -> str:
    """ "Requested by Victor Huang", which says more than the account that created it."""
    what = "Move requested" if access_request.kind == RequestKind.MOVE else "Requested"
    return f"{what} by {access_request.requested_by_name}"


def _ticket_or_requester(change_request: Deletion) -> str:
    """The beginning of a long ticket, because titles are on one line."""
    ticket = change_request.ticket
    return (ticket if len(ticket) <= 40 else f"{ticket[:39]}…") or change_request.requested_by_name


def change_subject(change: Change) -> str:
    """What it is about: both orgs, or the renamed org's two names."""
    if change.kind == Kind.ORG_RENAMED:
        return f"{(change.before or {}).get('name', '?')}, now {change.org_name}"
    return f"{change.source_org_name or '?'} → {change.sink_org_name or '?'}"


def types_of(state: State) -> list[str]:
    """The data types before or after a change. Empty if it has none."""
    return in_order((state or {}).get("connection_types", []))


def _added_audit(change: Change) -> bool:
    return "audit" in types_of(change.after) and "audit" not in types_of(change.before)


def _creator(state: State) -> dict[str, Any]:
    return dict((state or {}).get("created_by") or {})


def _is_disabled(state: State) -> bool:
    return _creator(state).get("disabled") is True


def _creator_name(state: State) -> str:
    """ "svc-terraform (service account)"; "" if Datadog gave no name."""
    creator = _creator(state)
    name = str(creator.get("name") or "")
    return f"{name} (service account)" if name and creator.get("service_account") else name


def change_cause_text(
    change: Change,
    *,
    before: State,
    deletion: Deletion | None,
    access_request: AccessRequest | None,
    not_checked_by: Sequence[str],
) -> str:
    """What is known about why it changed, as factual sentences. Can be empty.

    `before`, `deletion`, `access_request` and `not_checked_by` are limited to what the reader can
    see.
    """
    match change.kind:
        case Kind.APPEARED | Kind.RECREATED if access_request and not change.needs_attention:
            sentences = []
        case Kind.APPEARED:
            sentences = [_appeared_text(change)]
        case Kind.REMOVED:
            sentences = _removed_texts(
                change,
                before,
                deletion=deletion,
                is_moved=access_request is not None,
                not_checked_by=not_checked_by,
            )
        case Kind.RECREATED:
            sentences = [_recreated_text(change, deletion=deletion)]
        case Kind.TYPES_CHANGED:
            sentences = _types_texts(before, change.after)
        case Kind.CREATOR_CHANGED:
            sentences = [_creator_text(before, change.after)]
        case _:
            sentences = []
    if access_request:
        sentences.append(f"{access_request_name(access_request)}.")
    return " ".join(sentence for sentence in sentences if sentence)


def _appeared_text(change: Change) -> str:
    creator = _creator_name(change.after)
    by = f" by {creator}" if creator else ""
    created_at = _time((change.after or {}).get("created_at"))
    if change.newly_visible and created_at:
        return f"Newly visible: created on {format_date(created_at)}{by}."
    return f"Created{by}." if by else ""


def _removed_texts(
    change: Change,
    before: State,
    *,
    deletion: Deletion | None,
    is_moved: bool,
    not_checked_by: Sequence[str],
) -> list[str]:
    sentences = [f"{deletion_name(change, deletion=deletion)}."] if deletion else []
    if change.deletion_id is None and not is_moved:
        sentences.append("Datadog doesn't report who removed it.")
    if _is_disabled(before):
        sentences.append(_disabled_text(before))
    if not_checked_by:
        names = join_names(not_checked_by)
        limit = format_limit(FAILING_LIMIT)
        sentences.append(f"Not checked with {names}: syncs failed for {limit}.")
    return sentences


def deletion_name(change: Change, *, deletion: Deletion) -> str:
    """The deletion as the cause of this change names it. The title of a removal has its ticket."""
    by = f"by {deletion.requested_by_name} on {format_date(deletion.requested_at)}"
    if change.kind == Kind.REMOVED:
        return f"Deletion {by}"
    return f"deletion {deletion.ticket}" if deletion.ticket else f"the deletion {by}"


def access_request_name(access_request: AccessRequest) -> str:
    """The access request as the cause of a change names it."""
    name = access_request.ticket or f"by {access_request.requested_by_name}"
    return f"Access request {name} on {format_date(access_request.requested_at)}"


def _recreated_text(change: Change, *, deletion: Deletion | None) -> str:
    creator = _creator_name(change.after)
    by = f" by {creator}" if creator else ""
    if deletion is None:
        return f"Recreated{by}." if by else ""
    created_at = _time((change.after or {}).get("created_at"))
    after = ""
    if created_at and deletion.settled_at and created_at > deletion.settled_at:
        after = f"{format_span(created_at - deletion.settled_at)} "
    return f"Recreated{by} {after}after {deletion_name(change, deletion=deletion)}."


def _types_texts(before: State, after: State) -> list[str]:
    old, new = types_of(before), types_of(after)
    added = [kind for kind in new if kind not in old]
    removed = [kind for kind in old if kind not in new]
    return [
        f"Added {join_names(added)}." if added else "",
        f"Removed {join_names(removed)}." if removed else "",
    ]


def _creator_text(before: State, after: State) -> str:
    if _creator(before).get("id") == _creator(after).get("id"):
        return _disabled_text(after)
    old, new = (_creator_name(state) or "an unknown user" for state in (before, after))
    changed = f"The creator was {old} and is now {new}."
    return f"{changed} {_disabled_text(after)}" if _is_disabled(after) else changed


def _disabled_text(state: State) -> str:
    name = _creator(state).get("name")
    return (
        f"Creator {name}'s account is disabled." if name else "The creator's account is disabled."
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
