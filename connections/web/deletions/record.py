"""A deletion's page below its status: the timeline with its attempts."""

from dataclasses import replace
from typing import Any

from django.urls import reverse

from connections import audit, models
from connections.access import permissions
from connections.access.actor import Actor
from connections.web.timeline import event_entry

SHOWN_BODY = 8 * 1024


def record_context(*, deletion: models.Deletion, actor: Actor) -> dict[str, Any]:
    """Template variables of the timeline."""
    attempts = {attempt.number: _attempt_context(attempt) for attempt in deletion.attempts.all()}
    return {
        "timeline": [
            replace(event_entry(event, actor=actor), attempt=_attempt_of(event, attempts))
            for event in audit.events_of(subject=deletion)
            # Refused access is for auditors, and could fill the page.
            if event.code != audit.EventCode.ACCESS_REFUSED
        ],
        "audit_url": reverse("audit-list", query={"deletion": str(deletion.pk)})
        if permissions.can_audit(actor)
        else "",
    }


def _attempt_of(
    event: models.AuditEvent, attempts: dict[int, dict[str, Any]]
) -> dict[str, Any] | None:
    """The attempt that this event started, if it started one."""
    is_start = event.code == audit.EventCode.DELETION_SENDING
    return attempts.get(event.details["attempt"]) if is_start else None


def _attempt_context(attempt: models.Attempt) -> dict[str, Any]:
    """One attempt with the stored response. `key` is unique among the IDs on the page."""
    body = bytes(attempt.body).decode("utf-8", errors="replace")
    return {
        "attempt": attempt,
        "key": str(attempt.number),
        "headers": "\n".join(f"{name}: {value}" for name, value in attempt.headers.items()),
        "body": body[:SHOWN_BODY],
        "is_body_shortened": len(body) > SHOWN_BODY or attempt.body_is_complete is False,
    }
