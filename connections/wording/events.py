"""Texts of audit events, of their codes and of their notifications, and browser names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.text import capfirst

from connections.core.text import format_time
from connections.models import AuditEvent, Deletion, Outcome, State, render_references
from connections.wording.causes import cause_text
from connections.wording.deletion_statuses import (
    DeletionStatus,
    is_retry_too_late,
    label_of_outcome,
    outcome_badge,
)
from connections.wording.statuses import Badge

# In this order, because each user agent also names the browsers below it.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(agent: str) -> str:
    """“Firefox on Linux”, or as much of it as the user agent shows."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "Unknown browser")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser} on {system}" if system else browser


# A user agent up to this length is shown as it is: “curl/8.14.1”.
_SHORT_AGENT = 40
# Confirmations also use the last eight characters of an ID.
_ID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{4}([0-9a-f]{8})\b")


@dataclass(frozen=True, kw_only=True)
class EventText:
    """One line of a timeline. The badge's label is the title. `detail` can be empty."""

    badge: Badge
    detail: str = ""


# Tones and icons of the events whose appearance in a timeline doesn't depend on their details.
_LOOKS: dict[str, tuple[str, str]] = {
    "org_connection.protected": ("info", "lock"),
    "org_connection.protection_lifted": ("muted", "minus"),
    "deletion.requested": ("info", "person"),
    "deletion.approved": ("info", "check"),
    "deletion.declined": ("muted", "cross"),
    "deletion.break_glass_used": ("danger", "warning"),
    "deletion.approvals_lapsed": ("muted", "clock"),
    "deletion.break_glass_reviewed": ("info", "eye"),
    "deletion.withdrawn": ("muted", "minus"),
    "deletion.confirmed": ("info", "check"),
    "deletion.recheck_failed": ("warn", "warning"),
    "deletion.unknown": ("unknown", "question"),
    "deletion.still_unknown": ("unknown", "question"),
    "deletion.still_present": ("warn", "warning"),
    "deletion.verified": ("ok", "check"),
    "deletion.commented": ("muted", "person"),
    "deletion.contradicted": ("danger", "warning"),
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


def brief_sentence(event: AuditEvent) -> str:
    """The event's sentence, with short browser names and shortened IDs."""

    def brief(agent: str) -> str:
        return agent if len(agent) <= _SHORT_AGENT else browser_name(agent)

    sentence = render_references(event.stored_sentence, event.shown_values, agents=brief)
    return _ID.sub(r"…\1", sentence)


def event_text(event: AuditEvent) -> EventText:
    """The text for one event. For codes without a text here, the event's sentence is the title."""
    details: dict[str, Any] = event.details
    made = _TEXT_BUILDERS.get(event.code)
    if made:
        return made(details)
    if event.code in _LOOKS:
        tone, icon = _LOOKS[event.code]
        # A timeline is about one connection and its deletions, so only a bulk deletion needs its
        # name.
        is_of_batch = event.code.startswith("batch.")
        title = _event_title(event.code) if is_of_batch else capfirst(_action_of(event.code))
        return EventText(badge=Badge(title, tone, icon), detail=_detail(event))
    return EventText(badge=Badge(event.sentence, "muted", "dot"))


def _detail(event: AuditEvent) -> str:
    details = event.details
    if event.code == "deletion.confirmed" and details.get("skip_recheck"):
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
        tone = "ok" if status == 200 else "warn"
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


def _waiting(details: dict[str, Any]) -> EventText:
    cause = cause_text(details.get("cause") or "")
    return EventText(badge=Badge("Waiting to retry", "warn", "clock"), detail=cause)


def _checked(details: dict[str, Any]) -> EventText:
    titles = {"listed": "Checked: still listed", "not listed": "Checked: not listed"}
    title = titles.get(details.get("found", ""))
    if title:
        return EventText(badge=Badge(title, "muted", "eye"))
    cause = cause_text(details.get("cause") or "")
    return EventText(badge=Badge("Check failed", "muted", "eye"), detail=cause)


def _settled(details: dict[str, Any]) -> EventText:
    badge = outcome_badge(details.get("outcome") or "")
    reason = details.get("reason")
    detail = f"“{reason}”" if reason else cause_text(details.get("cause") or "")
    return EventText(badge=badge, detail=detail)


_TEXT_BUILDERS: dict[str, Callable[[dict[str, Any]], EventText]] = {
    "deletion.sending": _sending,
    "deletion.answered": _response_received,
    "deletion.answered_late": _late_response,
    "deletion.waiting": _waiting,
    "deletion.checked": _checked,
    "deletion.settled": _settled,
}


_NEXT = {
    State.REQUESTED: Badge("Confirm", "muted", "person"),
    State.APPROVED: Badge("Confirm", "muted", "person"),
    State.SENDING: Badge("Datadog's response", "muted", "arrow"),
    State.WAITING: Badge("Retry", "muted", "send"),
    State.UNKNOWN: Badge("Check with Datadog", "muted", "eye"),
    State.STILL_PRESENT: Badge("Confirm again or close", "muted", "person"),
}


def next_badge(deletion: Deletion, *, status: DeletionStatus) -> Badge | None:
    """The next step of a deletion with this status. None if there is none."""
    if deletion.outcome == Outcome.DELETED and not deletion.verified_at and deletion.due_at:
        return Badge("Verify that it's gone", "muted", "eye")
    if deletion.is_settled:
        return None
    if status == DeletionStatus.EXPIRED:
        return Badge("A worker closes it", "muted", "clock")
    if status == DeletionStatus.CHECKING:
        return Badge("Check, then send", "muted", "eye")
    if deletion.state == State.REQUESTED and deletion.needs_approval:
        return Badge("Another person approves", "muted", "people")
    if deletion.state == State.STILL_PRESENT and deletion.lacks_approvals:
        return Badge("Approve again or close", "muted", "people")
    if deletion.state == State.WAITING and is_retry_too_late(deletion):
        return Badge("Close without a retry", "muted", "clock")
    return _NEXT[State(deletion.state)]


# Subjects that pages call something other than the code does.
_SUBJECTS = {
    "batch": "Bulk deletion",
    "org_connection": "Connection",
    "provider_account": "SSO account",
    "sign_in_link": "Sign-in link",
}
_ACTIONS = {
    "batch.cancelled": "canceled",
    "credential.access_changed": "access list changed",
    "credential.policy_changed": "approval policy changed",
    "deletion.answered": "response received",
    "deletion.answered_late": "late response",
    "deletion.approvals_lapsed": "approvals expired",
    "deletion.contradicted": "Datadog still lists it",
    "deletion.recheck_failed": "pre-send check failed",
    "deletion.settled": "closed",
    "deletion.still_present": "no effect",
    "deletion.still_unknown": "still unknown after 1 hour",
    "deletion.unknown": "outcome unknown",
    "deletion.waiting": "waiting to retry",
    "encryption_key.dropped": "removed",
    "org_connection.protection_lifted": "protection removed",
    "person.break_glass_forbidden": "break glass revoked",
    "person.change_emails_set": "emails about changes turned on or off",
    "person.changed": "roles changed",
    "person.email_changed": "email address changed",
    "person.password_reset_mailed": "password reset link emailed",
    "person.provider_sign_in_refused": "SSO sign-in refused",
    "person.reauthenticated": "identity check passed",
    "person.reauthentication_failed": "identity check failed",
    "person.second_factor_added": "MFA method added",
    "person.second_factor_refused": "MFA failed",
    "person.second_factor_removed": "MFA removed by a sign-in link",
    "person.second_factor_turned_off": "MFA method removed",
    "person.sign_in_failed": "sign-in failed",
    "sign_in_link.made": "created",
}


def event_label(code: str) -> str:
    """ "Person: signed in" for a code, and "Person: all" for the prefix "person."."""
    return f"{_subject_of(code)}: {_action_of(code) or 'all'}"


def _event_title(code: str) -> str:
    """What happened: "Deletion approved", or "Roles changed" if the action has several words."""
    action = _action_of(code)
    return capfirst(action) if " " in action else f"{_subject_of(code)} {action}"


def _subject_of(code: str) -> str:
    noun = code.partition(".")[0]
    return _SUBJECTS.get(noun) or capfirst(noun.replace("_", " "))


def _action_of(code: str) -> str:
    return _ACTIONS.get(code) or code.partition(".")[2].replace("_", " ")


# Titles of notifications that are about more than one event, or about none.
_NOTIFICATION_TITLES = {
    "access_review.reviewers_changed": "Reviewers of an access review changed",
    "access_review.reminded": "Access review due",
    "changes.detected": "Changes need attention",
    "checkpoint.made": "Checkpoint",
    "notification.tested": "Test notification",
    "record.broken": "Audit log verification failed",
}
# Longer names are cut off to keep subject lines short.
SHOWN_NAME_LENGTH = 60


def notification_title(
    code: str, *, details: Mapping[str, Any], needs_approval: bool = False
) -> str:
    """What happened, in a few words."""
    if code in {"deletion.requested", "batch.requested"} and needs_approval:
        return "Approval needed"
    if code == "deletion.still_present" and needs_approval:
        return "No effect: approval needed again"
    if code == "access_review.reminded" and details.get("reminder") == "overdue":
        return "Access review overdue"
    if code == "deletion.settled" and details.get("outcome") in set(Outcome):
        return label_of_outcome(str(details["outcome"]))
    return _NOTIFICATION_TITLES.get(code) or _event_title(code)


def one_line(text: str, *, limit: int) -> str:
    """External text without line breaks, control characters or bidirectional controls."""
    shown = "".join(
        letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split())
    )
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def limited_lines(text: str, *, limit: int) -> str:
    """External text like `one_line`, but longer and with its line breaks."""
    lines = [one_line(line, limit=limit) for line in text[:limit].splitlines()]
    return "\n".join(lines)
