"""A request's page below its status: the timeline with its attempts."""

from dataclasses import replace
from typing import Any

from connections import audit
from connections.access.actor import Actor
from connections.access_requests.concealing import READABLE_CODES
from connections.core.causes import Cause
from connections.models import AttemptFields, ChangeRequest, Step
from connections.web.timeline import TimelineEntry, event_entry

SHOWN_BODY = 8 * 1024


def timeline_of(change_request: ChangeRequest, *, actor: Actor) -> list[TimelineEntry]:
    """Its events, each start of an attempt with what was recorded about that."""
    attempts = {attempt.number: attempt for attempt in change_request.attempts.all()}
    start = change_request.event_code(Step.SENDING)
    return [
        _attempt_entry(event_entry(event, actor=actor), attempts.get(event.details["attempt"]))
        if event.code == start
        else event_entry(event, actor=actor)
        for event in audit.events_of(subject=change_request)
        # Refused access is for auditors, and could fill the page.
        if event.code != audit.EventCode.ACCESS_REFUSED
        and (change_request.cause != Cause.CONCEALED or event.code in READABLE_CODES)
    ]


def _attempt_entry(entry: TimelineEntry, attempt: AttemptFields | None) -> TimelineEntry:
    """The start of an attempt: what it sent, and what was recorded about it."""
    if attempt is None:
        return entry
    badge = replace(entry.badge, label=f"Sending the {attempt.method}, attempt {attempt.number}")
    return replace(entry, badge=badge, attempt=_attempt_context(attempt))


def _attempt_context(attempt: AttemptFields) -> dict[str, Any]:
    """One attempt with the stored response. `key` is unique among the IDs on the page."""
    body = bytes(attempt.body).decode("utf-8", errors="replace")
    return {
        "attempt": attempt,
        "key": str(attempt.number),
        "headers": "\n".join(f"{name}: {value}" for name, value in attempt.headers.items()),
        "body": body[:SHOWN_BODY],
        "is_body_shortened": len(body) > SHOWN_BODY or attempt.body_is_complete is False,
    }
