"""The details of a deletion: facts, people, timeline, attempts, and a summary to copy."""

import json
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode

from connections import audit, wording
from connections.core import clock
from connections.deletions import states
from connections.deletions.tickets import ticket_url
from connections.models import (
    GONE_OUTCOMES,
    Approval,
    ApprovalPolicy,
    Attempt,
    Deletion,
    State,
)
from connections.web.timeline import TimelineEntry, event_entry
from connections.wording.connections import creator_flags, site_label, site_name

SHOWN_BODY = 8 * 1024


@dataclass(frozen=True, kw_only=True)
class AttemptPage:
    """One attempt, with the stored response."""

    attempt: Attempt
    # Unique among the ids of the page.
    key: str
    headline: str
    headers: str
    body: str
    is_body_shortened: bool


def record_context(*, deletion: Deletion, links_to_evidence: bool) -> dict[str, Any]:
    """Template variables of the details beside the outcome.

    `links_to_evidence`: whether the person can open audit events.
    """
    events = audit.events_of(subject=deletion)
    attempts = [_attempt_page(attempt) for attempt in deletion.attempts.all()]
    people = _people(deletion)
    is_being_rechecked = not deletion.is_settled and states.is_being_rechecked(
        deletion, now=clock.now()
    )
    return {
        "timeline": [
            *(
                event_entry(event, links_to_evidence=links_to_evidence)
                for event in events
                # Refused access is for auditors, and could fill the page.
                if event.code != audit.EventCode.ACCESS_REFUSED
            ),
            *_next_entries(deletion, is_being_rechecked=is_being_rechecked),
        ],
        "audit_url": f"{reverse('audit-list')}?{urlencode({'deletion': str(deletion.pk)})}"
        if links_to_evidence
        else "",
        "attempts": attempts,
        "facts": _facts(deletion),
        "people": people,
        "types": ", ".join(deletion.connection_types),
        **_sentences(deletion),
        "site_name": site_name(deletion.site),
        "ticket_url": ticket_url(deletion.ticket),
        "summary": _summary(
            deletion, attempts=attempts, people=people, is_being_rechecked=is_being_rechecked
        ),
    }


def _sentences(deletion: Deletion) -> dict[str, str]:
    """What the connection is, and, before the decision, what deleting it would do."""
    if not deletion.is_reviewed:
        return {"sentence": "", "effect": ""}
    source, sink = deletion.source_org_name, deletion.sink_org_name
    types = deletion.connection_types
    is_gone = deletion.outcome in GONE_OUTCOMES and not deletion.contradicted_at
    is_undecided = deletion.state in {State.REQUESTED, State.APPROVED, State.STILL_PRESENT}
    return {
        "sentence": wording.sentence_text(source=source, sink=sink, types=types, is_past=is_gone),
        "effect": wording.effect_text(source=source, sink=sink, types=types)
        if is_undecided
        else "",
    }


def _next_entries(deletion: Deletion, *, is_being_rechecked: bool) -> list[TimelineEntry]:
    words = wording.next_text(deletion, is_being_rechecked=is_being_rechecked)
    if words is None:
        return []
    # A person's step has a deadline; an automatic one has a time.
    is_awaited = not is_being_rechecked and deletion.state in {State.REQUESTED, State.APPROVED}
    detail = f"Not later than {wording.format_time(deletion.expires_at)}." if is_awaited else ""
    is_timed = deletion.state in {State.WAITING, State.UNKNOWN, State.SETTLED}
    return [
        TimelineEntry(
            title=words.title,
            tone=words.tone,
            icon=words.icon,
            at=deletion.due_at if is_timed else None,
            detail=detail,
            is_next=True,
        )
    ]


def _attempt_page(attempt: Attempt) -> AttemptPage:
    body = bytes(attempt.body).decode("utf-8", errors="replace")
    if attempt.http_status is not None:
        headline = f"{attempt.http_status} in {attempt.duration_ms} ms"
    elif attempt.answered_at:
        headline = wording.cause_text(attempt.cause)
    else:
        headline = "No answer recorded"
    return AttemptPage(
        attempt=attempt,
        key=str(attempt.number),
        headline=headline,
        headers="\n".join(f"{name}: {value}" for name, value in attempt.headers.items()),
        body=body[:SHOWN_BODY],
        is_body_shortened=len(body) > SHOWN_BODY or attempt.body_is_complete is False,
    )


def _facts(deletion: Deletion) -> list[tuple[str, Any]]:
    flags = ", ".join(creator_flags(deletion))
    creator = f"{deletion.creator_name} ({flags})" if flags else deletion.creator_name
    sent_with = f"{deletion.credential_name} (fingerprint {deletion.credential_fingerprint})"
    seen_at = wording.format_time(deletion.snapshot_at) if deletion.snapshot_at else ""
    created = deletion.connection_created_at
    return [
        ("Connection id", deletion.connection_id),
        ("Site", site_label(deletion.site)),
        ("Source org id", deletion.source_org_id),
        ("Destination org id", deletion.sink_org_id),
        ("Created", wording.format_time(created) if created else ""),
        ("Created by", creator),
        ("Credential", sent_with),
        ("As read at", seen_at or "Not reviewed: the credential could not list it"),
        ("Deletion id", deletion.pk),
    ]


def _people(deletion: Deletion) -> list[tuple[str, str]]:
    asked = f"{deletion.requested_by_name}, {wording.format_time(deletion.requested_at)}"
    rows = [("Asked by", asked)]
    for one in deletion.approvals.all():
        said = "Approved by" if one.decision == Approval.Decision.APPROVED else "Declined by"
        if one.round < deletion.approval_round:
            said = f"{said} (round {one.round})"
        rows.append((said, f"{one.approver_name}, {wording.format_time(one.decided_at)}"))
    if deletion.confirmed_at:
        confirmed = f"{deletion.confirmed_by_name}, {wording.format_time(deletion.confirmed_at)}"
        rows.append(("Confirmed by", confirmed))
    if deletion.break_glass_at:
        broken = f"{deletion.break_glass_by_name}, {wording.format_time(deletion.break_glass_at)}"
        rows.append(("Glass broken by", broken))
    if deletion.policy == ApprovalPolicy.NONE:
        rows.append(("Second person", "No second person was required"))
    return rows


def _summary(
    deletion: Deletion,
    *,
    attempts: list[AttemptPage],
    people: list[tuple[str, str]],
    is_being_rechecked: bool,
) -> str:
    words = wording.describe(deletion, is_being_rechecked=is_being_rechecked)
    types = ", ".join(deletion.connection_types) or "not known"
    names = f"{deletion.source_org_name or '?'} → {deletion.sink_org_name or '?'}"
    glass = wording.break_glass_text(deletion)
    lines = [
        words.headline,
        *words.lines,
        *((glass.headline, *glass.lines) if glass else ()),
        *(f"Datadog says: {json.dumps(text, ensure_ascii=False)}" for text in words.quotes),
        "",
        f"Connection: {names} ({types})",
        f"Id: {deletion.connection_id} on {site_label(deletion.site)}",
        f"Credential: {deletion.credential_name}, fingerprint {deletion.credential_fingerprint}",
        f"Reason: {deletion.reason}",
        f"Ticket: {deletion.ticket or '–'}",
        *(f"{label}: {value}" for label, value in people),
        *(f"Attempt {one.attempt.number}: {one.headline}" for one in attempts),
        f"Record: {deletion.pk}",
    ]
    return "\n".join(lines)
