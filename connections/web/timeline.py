"""The entries of components/timeline.html, and what each says about an audit event."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.text import capfirst

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_requests.status import access_status_at, people_text, terms_text
from connections.audit.texts import action_of, event_title
from connections.changes.changes import AWAITING_QUERY, ChangeRow
from connections.changes.texts import types_of
from connections.core.causes import cause_text
from connections.core.text import format_time
from connections.models import COMPLETED, AccessRequest, AuditEvent, Change, ChangeRequest
from connections.web.badges import (
    Badge,
    access_outcome_badge,
    access_request_badge,
    change_badge,
    outcome_badge,
)


@dataclass(frozen=True, kw_only=True)
class EventText:
    """One line of a timeline. The badge's label is the title. `detail` can be empty."""

    badge: Badge
    detail: str = ""


# Tones and icons of the events whose appearance in a timeline doesn't depend on their details.
_REQUEST_LOOKS = {
    "requested": ("info", "person"),
    "approved": ("info", "check"),
    "declined": ("muted", "cross"),
    "approvals_lapsed": ("muted", "clock"),
    "withdrawn": ("muted", "minus"),
    "confirmed": ("info", "check"),
    "recheck_failed": ("warn", "warning"),
    "waiting": ("warn", "clock"),
    "unknown": ("unknown", "question"),
    "still_unknown": ("unknown", "question"),
    "verified": ("ok", "check"),
    "contradicted": ("danger", "warning"),
}
_LOOKS: dict[str, tuple[str, str]] = {
    **{
        f"{kind.noun}.{step}": look
        for kind in ChangeRequest.__subclasses__()
        for step, look in _REQUEST_LOOKS.items()
    },
    "access_request.no_effect": ("warn", "warning"),
    "access_request.interrupted": ("danger", "warning"),
    "access_request.removed": ("info", "minus"),
    "org_connection.protected": ("info", "lock"),
    "org_connection.protection_lifted": ("muted", "minus"),
    "deletion.break_glass_used": ("danger", "warning"),
    "deletion.break_glass_reviewed": ("info", "eye"),
    "deletion.still_present": ("warn", "warning"),
    "deletion.commented": ("muted", "person"),
    "batch.requested": ("info", "person"),
    "batch.approved": ("info", "check"),
    "batch.declined": ("muted", "cross"),
    "batch.confirmed": ("info", "check"),
    "batch.paused": ("warn", "clock"),
    "batch.resumed": ("info", "send"),
    "batch.cancelled": ("muted", "minus"),
    "batch.expired": ("muted", "clock"),
    "batch.finished": ("ok", "check"),
}


def event_text(event: AuditEvent) -> EventText:
    """The text for one event. For codes without a text here, the event's sentence is the title."""
    details: dict[str, Any] = event.details
    build_text = _TEXT_BUILDERS.get(event.code)
    if build_text:
        return build_text(details)
    if event.code == "deletion.settled":
        return EventText(badge=outcome_badge(details["outcome"]), detail=_detail(event))
    if event.code == "access_request.settled":
        badge = access_outcome_badge(details["outcome"], kind=details.get("kind", ""))
        return EventText(badge=badge, detail=_detail(event))
    if event.code in _LOOKS:
        tone, icon = _LOOKS[event.code]
        # A timeline is about one connection and its deletions, so only a bulk deletion needs its
        # name.
        is_of_batch = event.code.startswith("batch.")
        title = event_title(event.code) if is_of_batch else capfirst(action_of(event.code))
        return EventText(badge=Badge(title, tone, icon), detail=_detail(event))
    return EventText(badge=Badge(event.sentence, "muted", "dot"))


def _detail(event: AuditEvent) -> str:
    details = event.details
    if event.code.endswith(".confirmed") and details.get("skip_recheck"):
        return "Pre-send check skipped."
    if event.code == "deletion.verified":
        return "Datadog no longer lists it."
    typed_text = details.get("reason") or details.get("text")
    if typed_text:
        return f"“{typed_text}”"
    counts: dict[str, int] = details.get("counts") or {}
    if counts:
        return ", ".join(f"{count:,} {label.lower()}" for label, count in counts.items())
    return cause_text(details.get("cause") or "")


def _sending(details: dict[str, Any]) -> EventText:
    check = (
        "Checked just before sending."
        if details.get("was_rechecked")
        else "Not checked before sending."
    )
    title = f"Sending, attempt {details.get('attempt', '?')}"
    return EventText(badge=Badge(title, "info", "send"), detail=check)


def _response_received(details: dict[str, Any]) -> EventText:
    status = details.get("http_status")
    quotes = "; ".join(f"“{text}”" for text in details.get("errors") or [])
    quotes = " ".join(part for part in (quotes, _kept_in_file_text(details)) if part)
    if status is not None:
        title = f"Datadog returned {status} in {details.get('duration_ms', '?')} ms"
        tone = "ok" if status in (200, 201) else "warn"
        return EventText(badge=Badge(title, tone, "arrow"), detail=quotes)
    cause = cause_text(details.get("cause") or "")
    if details.get("verdict") == "not_sent":
        return EventText(badge=Badge("Not sent", "warn", "cross"), detail=cause)
    return EventText(badge=Badge("No usable response", "unknown", "question"), detail=cause)


def _kept_in_file_text(details: dict[str, Any]) -> str:
    if not details.get("kept_at"):
        return ""
    kept_at = format_time(datetime.fromisoformat(details["kept_at"]))
    return f"The database was unavailable, so the server kept it in a file at {kept_at}."


def _late_response(details: dict[str, Any]) -> EventText:
    title = f"Late response to attempt {details.get('attempt', '?')}"
    status = details.get("http_status")
    response = f"Datadog returned {status}." if status else cause_text(details.get("cause") or "")
    detail = f"{response} {_kept_in_file_text(details)}".strip()
    return EventText(badge=Badge(title, "warn", "warning"), detail=detail)


def _checked(details: dict[str, Any]) -> EventText:
    titles = {"listed": "Checked: still listed", "not listed": "Checked: not listed"}
    title = titles.get(details.get("found", ""))
    if title:
        return EventText(badge=Badge(title, "muted", "eye"))
    cause = cause_text(details.get("cause") or "")
    return EventText(badge=Badge("Check failed", "muted", "eye"), detail=cause)


_TEXT_BUILDERS: dict[str, Callable[[dict[str, Any]], EventText]] = {
    **{
        f"{kind.noun}.{step}": build_text
        for kind in ChangeRequest.__subclasses__()
        for step, build_text in (
            ("sending", _sending),
            ("answered", _response_received),
            ("answered_late", _late_response),
        )
    },
    "deletion.checked": _checked,
}


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """One entry of a timeline."""

    # Its label is the title.
    badge: Badge
    at: datetime | None = None
    by: str = ""
    detail: str = ""
    # The URL that its title links to.
    url: str = ""
    evidence_number: int | None = None
    evidence_url: str = ""
    # The attempt that it started, for change_requests/attempt.html.
    attempt: dict[str, Any] | None = None


def event_entry(event: AuditEvent, *, actor: Actor, url: str = "") -> TimelineEntry:
    """The entry for an audit event. Links to the event if the actor can open it."""
    text = event_text(event)
    return TimelineEntry(
        badge=text.badge,
        at=event.at,
        by=event.actor_name,
        detail=text.detail,
        url=url,
        evidence_number=event.seq,
        evidence_url=reverse("audit-detail", args=[event.seq])
        if permissions.can_audit(actor)
        else "",
    )


def access_request_entry(access_request: AccessRequest, *, now: datetime) -> TimelineEntry:
    """The entry for an access request: how it ended or, until then, where it is.

    Makes no query if its approvals are prefetched and no two of its people share a name.
    """
    status = access_status_at(access_request, now=now)
    badge = access_request_badge(access_request, status=status)
    if access_request.outcome not in COMPLETED:
        badge = replace(badge, label=f"Access request: {badge.label}")
    said = access_request.settled_reason or access_request.reason
    terms = [terms_text(access_request), access_request.ticket, f"“{said}”"]
    return TimelineEntry(
        badge=badge,
        at=access_request.settled_at or access_request.requested_at,
        by=people_text(access_request),
        detail=" · ".join(filter(None, terms)),
        url=reverse("access-request-detail", args=[access_request.pk]),
    )


# Kinds of changes that mean a connection was listed for the first time.
FIRST_LISTED = {Change.Kind.APPEARED, Change.Kind.RECREATED}


def change_entry(row: ChangeRow) -> TimelineEntry:
    """The entry for a change, with who acknowledged it and why."""
    change = row.change
    badge = change_badge(change, deletion=row.deletion, access_request=row.access_request)
    # The title and its link already name the deletion.
    is_named = change.kind == Change.Kind.REMOVED and row.deletion
    known, url = [replace(row, deletion=None).cause if is_named else row.cause], ""
    if change.kind in FIRST_LISTED:
        known.append(f"Data types: {', '.join(types_of(change.after)) or 'none'}.")
    if change.kind == Change.Kind.RECREATED and row.before:
        url = reverse("org-connection-detail", args=[change.site, row.before["connection_id"]])
    if row.deletion:
        url = reverse("deletion-detail", args=[row.deletion.pk])
    if row.access_request:
        url = reverse("access-request-detail", args=[row.access_request.pk])
    if change.acknowledged_by:
        known.append(f"Acknowledged by {change.acknowledged_by}: “{change.note}”")
    elif change.needs_attention:
        known.append("Not acknowledged.")
        url = url or reverse("change-list", query=AWAITING_QUERY | {"open": str(change.pk)})
    return TimelineEntry(
        badge=badge,
        at=change.detected_at,
        by=", ".join(row.observed_by),
        detail="\n".join(text for text in known if text),
        url=url,
    )
