"""What `#outcome` shows: the state of a deletion in words, and the next steps."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode

from connections import clock, policies, wording
from connections.actors import Actor
from connections.models import Deletion, Outcome, Policy, State
from connections.services import (
    approvals,
    audit,
    endings,
    org_connections,
    reviews,
    transitions,
)
from connections.views.deletion_review import review_url
from connections.wording import Step, Wording

# The page looks by itself only while something is about to happen.
SOON = timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What a person typed into one of the outcome's forms, and what is wrong with it."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    # Why the act did not happen, when it is no field's fault.
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class OutcomePage:
    """The state of a deletion in words, with the steps that this person may take now."""

    deletion: Deletion
    words: Wording
    steps: dict[str, Step]
    confirm_text: str
    typed: Typed
    url: str
    is_moving: bool
    # Changes whenever what is shown does.
    version: str
    again_url: str
    connection_url: str
    history_url: str
    approval_note: str
    # Set where the outcome stands on the review page, away from its record.
    is_apart: bool


def outcome_page(
    *, deletion: Deletion, actor: Actor, typed: Typed | None = None, is_apart: bool = False
) -> OutcomePage:
    """What `#outcome` shows."""
    now = clock.now()
    needs_approval = deletion.state == State.REQUESTED and deletion.policy != Policy.NONE
    words = wording.word(
        deletion,
        approvers=tuple(approvals.who_can_approve(deletion=deletion)) if needs_approval else None,
        may_approve=_may(Step.APPROVE, deletion=deletion, actor=actor, now=now),
        seen_by=_seen_by(deletion) if deletion.contradicted_at else "",
        is_being_read=transitions.is_being_read(deletion, now=now),
    )
    is_moving = _is_moving(deletion, now=now)
    return OutcomePage(
        deletion=deletion,
        words=words,
        steps={
            step.value: step
            for step in words.steps
            if _may(step, deletion=deletion, actor=actor, now=now)
        },
        confirm_text=reviews.confirmation_text(deletion),
        typed=typed or Typed(),
        url=reverse("deletion-detail", args=[deletion.pk]),
        is_moving=is_moving,
        version=_version(deletion, is_moving=is_moving),
        again_url=review_url(
            credential=deletion.credential_id,
            connection_id=deletion.connection_id,
            again=str(deletion.pk),
        ),
        connection_url=reverse(
            "org-connection-detail", args=[deletion.site, deletion.connection_id]
        ),
        history_url=f"{reverse('deletion-list')}?"
        + urlencode({"connection_id": str(deletion.connection_id)}),
        approval_note=_approval_note(deletion, actor=actor) if needs_approval else "",
        is_apart=is_apart,
    )


def _seen_by(deletion: Deletion) -> str:
    for event in reversed(audit.events_of(subject=deletion)):
        if event.code == audit.Code.DELETION_CONTRADICTED:
            return str(event.details.get("seen_by", ""))
    return ""


def _may(step: Step, *, deletion: Deletion, actor: Actor, now: datetime) -> bool:
    match step:
        case Step.CONFIRM | Step.CONFIRM_WITHOUT_READING:
            is_theirs = deletion.policy == Policy.NONE or deletion.requested_by == actor.person
            return policies.can_delete(actor) and is_theirs
        case Step.APPROVE | Step.DECLINE:
            return policies.can_approve(actor, deletion=deletion) and not _has_decided(
                deletion, actor=actor
            )
        case Step.WITHDRAW:
            return policies.can_withdraw(actor, deletion=deletion) and endings.can_be_withdrawn(
                deletion
            )
        case Step.CHECK if deletion.state == State.SENDING:
            started = deletion.sending_at or now
            return policies.can_delete(actor) and now - started >= transitions.CLAIM_TIMEOUT
        case Step.CHECK | Step.CLOSE | Step.REVIEW_AGAIN | Step.ASK_AGAIN | Step.TRY_AGAIN:
            return policies.can_delete(actor)
        case Step.OPEN_CREDENTIAL | Step.SEE_CONNECTION | Step.SEE_HISTORY:
            return policies.can_see(actor)


def _has_decided(deletion: Deletion, *, actor: Actor) -> bool:
    person = actor.person
    return person is not None and any(
        one.approver_id == person.pk for one in deletion.approvals.all()
    )


def _approval_note(deletion: Deletion, *, actor: Actor) -> str:
    """What an approver is told of how fresh the snapshot is; what the asker is told instead."""
    if actor.person and deletion.requested_by_id == actor.person.pk:
        return "You asked for this; someone else must approve."
    current = org_connections.current_snapshot(
        credential=deletion.credential, connection_id=deletion.connection_id
    )
    asked_by = deletion.requested_by_name
    if not deletion.is_reviewed:
        return f"Nobody could be shown what it is: {deletion.credential_name} cannot list it."
    if current is None:
        return f"It is no longer listed, though it was when {asked_by} asked."
    seen = wording.at_words(current.last_seen_at)
    if current.digest == deletion.digest:
        return f"Read at {seen}: nothing has changed since {asked_by} asked."
    return f"Read at {seen}: it has changed since {asked_by} asked, so it would not be sent."


def _is_moving(deletion: Deletion, *, now: datetime) -> bool:
    if deletion.state == State.SENDING or transitions.is_being_read(deletion, now=now):
        return True
    is_watched = deletion.state in {State.WAITING, State.UNKNOWN} or (
        deletion.outcome == Outcome.DELETED and not deletion.verified_at
    )
    return is_watched and deletion.due_at is not None and abs(deletion.due_at - now) < SOON


def _version(deletion: Deletion, *, is_moving: bool) -> str:
    parts = (
        deletion.state,
        deletion.outcome,
        deletion.cause,
        deletion.epoch,
        deletion.confirmed_at,
        deletion.due_at,
        deletion.looked_at,
        deletion.verified_at,
        deletion.contradicted_at,
        [attempt.number for attempt in deletion.attempts.all() if attempt.is_late],
        is_moving,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
