"""A deletion's page below its status: timeline, attempts, and a summary to copy."""

import json
from datetime import datetime
from typing import Any

from django.urls import reverse

from connections import audit, models
from connections.access import permissions
from connections.access.actor import Actor
from connections.core.causes import cause_text
from connections.core.sites import site_label
from connections.core.text import format_time
from connections.deletions import states
from connections.deletions.status import DeletionStatus
from connections.deletions.texts import break_glass_text, describe
from connections.web.event_texts import next_badge
from connections.web.timeline import TimelineEntry, event_entry

SHOWN_BODY = 8 * 1024


def record_context(*, deletion: models.Deletion, actor: Actor, now: datetime) -> dict[str, Any]:
    """Template variables of the timeline, the attempts and the summary."""
    attempts = [_attempt_context(attempt) for attempt in deletion.attempts.all()]
    status = states.status_at(deletion, now=now)
    return {
        "timeline": [
            *(
                event_entry(event, actor=actor)
                for event in audit.events_of(subject=deletion)
                # Refused access is for auditors, and could fill the page.
                if event.code != audit.EventCode.ACCESS_REFUSED
            ),
            *_next_entries(deletion, status=status),
        ],
        "audit_url": reverse("audit-list", query={"deletion": str(deletion.pk)})
        if permissions.can_audit(actor)
        else "",
        "attempts": attempts,
        "summary": _summary(deletion, attempts=attempts, now=now),
    }


def _next_entries(deletion: models.Deletion, *, status: DeletionStatus) -> list[TimelineEntry]:
    badge = next_badge(deletion, status=status)
    if badge is None:
        return []
    # A person's step has a deadline, and an automatic step has a time.
    is_awaited = deletion.state in {models.State.REQUESTED, models.State.APPROVED}
    is_awaited = is_awaited and status not in {DeletionStatus.CHECKING, DeletionStatus.EXPIRED}
    detail = f"Expires at {format_time(deletion.expires_at)}." if is_awaited else ""
    is_timed = deletion.state in {models.State.WAITING, models.State.UNKNOWN, models.State.SETTLED}
    return [
        TimelineEntry(
            badge=badge,
            at=deletion.due_at if is_timed else None,
            detail=detail,
            is_next=True,
        )
    ]


def _attempt_context(attempt: models.Attempt) -> dict[str, Any]:
    """One attempt with the stored response. `key` is unique among the IDs on the page."""
    body = bytes(attempt.body).decode("utf-8", errors="replace")
    if attempt.http_status is not None:
        headline = f"Datadog returned {attempt.http_status} in {attempt.duration_ms} ms"
    elif attempt.answered_at:
        headline = cause_text(attempt.cause)
    else:
        headline = "No response recorded"
    return {
        "attempt": attempt,
        "key": str(attempt.number),
        "headline": headline,
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


def _summary(deletion: models.Deletion, *, attempts: list[dict[str, Any]], now: datetime) -> str:
    text = describe(
        deletion,
        status=states.status_at(deletion, now=now),
        have_approvals_expired=states.have_approvals_expired(deletion, now=now),
    )
    types = ", ".join(deletion.connection_types) or "unknown"
    names = f"{deletion.source_org_name or '?'} → {deletion.sink_org_name or '?'}"
    break_glass = break_glass_text(deletion)
    lines = [
        text.headline,
        *text.lines,
        *((break_glass.headline, *break_glass.lines) if break_glass else ()),
        *(f"Datadog: {json.dumps(quote, ensure_ascii=False)}" for quote in text.quotes),
        "",
        f"Connection: {names} ({types})",
        f"ID: {deletion.connection_id} on {site_label(deletion.site)}",
        f"Credential: {deletion.credential_name}, fingerprint {deletion.credential_fingerprint}",
        f"Reason: {deletion.reason}",
        f"Ticket: {deletion.ticket or 'None'}",
        *_people(deletion),
        *(f"Attempt {attempt['attempt'].number}: {attempt['headline']}" for attempt in attempts),
        f"Deletion: {deletion.pk}",
    ]
    return "\n".join(lines)
