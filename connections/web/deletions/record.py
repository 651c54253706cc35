"""A deletion's page below its status: the timeline with its attempts, and a summary to copy."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.urls import reverse

from connections import audit, models
from connections.access import permissions
from connections.access.actor import Actor
from connections.core.sites import site_label
from connections.core.text import format_time
from connections.deletions import states
from connections.deletions.attempt_facts import response_text
from connections.deletions.texts import break_glass_text, describe
from connections.web.timeline import event_entry

SHOWN_BODY = 8 * 1024


def record_context(*, deletion: models.Deletion, actor: Actor, now: datetime) -> dict[str, Any]:
    """Template variables of the timeline and the summary."""
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
        "summary": _summary(deletion, now=now),
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


def _people(deletion: models.Deletion) -> list[str]:
    """Who did what and when, one line each."""
    who_and_when = [("Requested by", deletion.requested_by_name, deletion.requested_at)]
    for approval in deletion.approvals.all():
        did = (
            "Approved by"
            if approval.decision == models.Approval.Decision.APPROVED
            else "Declined by"
        )
        if approval.round < deletion.approval_round:
            did = f"{did} (round {approval.round})"
        who_and_when.append((did, approval.approver_name, approval.decided_at))
    if deletion.confirmed_at:
        who_and_when.append(("Confirmed by", deletion.confirmed_by_name, deletion.confirmed_at))
    lines = [f"{did}: {name}, {format_time(at)}" for did, name, at in who_and_when]
    if deletion.policy == models.ApprovalPolicy.NONE:
        lines.append("Approvals: none required")
    return lines


def _summary(deletion: models.Deletion, *, now: datetime) -> str:
    text = describe(
        deletion,
        status=states.status_at(deletion, now=now),
        have_approvals_expired=states.have_approvals_expired(deletion, now=now),
    )
    types = ", ".join(deletion.connection_types) or "unknown"
    break_glass = break_glass_text(deletion)
    lines = [
        text.sentences,
        *text.lines,
        *((break_glass.headline, *break_glass.lines) if break_glass else ()),
        *(f"Datadog: {json.dumps(quote, ensure_ascii=False)}" for quote in text.quotes),
        "",
        f"Connection: {deletion.pair} ({types})",
        f"ID: {deletion.connection_id} on {site_label(deletion.site)}",
        f"Credential: {deletion.credential_name}, fingerprint {deletion.credential_fingerprint}",
        f"Reason: {deletion.reason}",
        f"Ticket: {deletion.ticket or 'None'}",
        *_people(deletion),
        *(f"Attempt {attempt.number}: {_result(attempt)}" for attempt in deletion.attempts.all()),
        f"Deletion: {deletion.pk}",
    ]
    return "\n".join(lines)


def _result(attempt: models.Attempt) -> str:
    return response_text(attempt) if attempt.answered_at else "No response recorded"
