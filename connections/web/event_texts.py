"""What a timeline says about an audit event."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.text import capfirst

from connections.audit.texts import action_of, event_title
from connections.core.causes import cause_text
from connections.core.text import format_time
from connections.models import AuditEvent, ChangeRequest
from connections.web.badges import Badge, access_outcome_badge, outcome_badge


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
