"""The outcome part of a deletion's page: its state, the next steps, and how often it polls."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse

from connections import audit, wording
from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock
from connections.deletions import approvals, break_glass, lifecycle, reviews, states, time_limits
from connections.inventory import protections
from connections.models import Deletion, Outcome, Protection, State
from connections.web.deletions.decision import ApprovalPreview, approval_preview
from connections.web.deletions.review import review_url
from connections.web.forms import ServiceForm
from connections.wording import BannerText, DeletionText, NextStep

# The page polls for automatic changes only when one is due this soon.
SOON = timedelta(minutes=2)
# While it waits for people: seconds between polls, by the time since the last action.
POLL_INTERVALS = (
    (timedelta(minutes=2), 5),
    (timedelta(minutes=15), 15),
    (timedelta(hours=2), 60),
    (timedelta.max, 300),
)


def poll_interval(deletion: Deletion, *, now: datetime) -> int | None:
    """Seconds between the page's polls; None where nothing can change soon.

    While a deletion waits for people, the page polls less often the longer nobody acts.
    """
    if _is_changing_soon(deletion, now=now):
        return 2
    if deletion.state not in {State.REQUESTED, State.APPROVED}:
        return None
    times = (deletion.requested_at, deletion.approved_at, deletion.confirmed_at)
    idle = now - max(at for at in times if at)
    return next(seconds for limit, seconds in POLL_INTERVALS if idle < limit)


def _is_changing_soon(deletion: Deletion, *, now: datetime) -> bool:
    if deletion.state == State.SENDING or states.is_being_rechecked(deletion, now=now):
        return True
    is_watched = deletion.state in {State.WAITING, State.UNKNOWN} or (
        deletion.outcome == Outcome.DELETED and not deletion.verified_at
    )
    return is_watched and deletion.due_at is not None and abs(deletion.due_at - now) < SOON


def state_version(deletion: Deletion, *, now: datetime) -> str:
    """A value that changes whenever what the page shows changes."""
    parts = (
        deletion.state,
        deletion.outcome,
        deletion.cause,
        deletion.epoch,
        deletion.confirmed_at,
        deletion.due_at,
        deletion.last_checked_at,
        deletion.verified_at,
        deletion.contradicted_at,
        [attempt.number for attempt in deletion.attempts.all() if attempt.is_late],
        [approval.pk for approval in deletion.approvals.all()],
        deletion.approval_round,
        deletion.break_glass_at,
        getattr(deletion, "break_glass_review", None) is not None,
        _is_changing_soon(deletion, now=now),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


BLOCKED_BY_PROTECTION = {
    NextStep.CONFIRM,
    NextStep.APPROVE,
    NextStep.BREAK_GLASS,
}


@dataclass(frozen=True, kw_only=True)
class OutcomePage:
    """The state of a deletion as text, with the steps that this person can take now."""

    deletion: Deletion
    text: DeletionText
    steps: dict[str, NextStep]
    confirm_text: str
    # The form that was posted, where its action did not happen.
    form: ServiceForm | None
    # Why it did not happen, when no field is at fault.
    notice: str
    url: str
    poll_interval: int | None
    version: str
    again_url: str
    connection_url: str
    # Whether it waits for approval by someone other than the viewer.
    is_own: bool
    break_glass: BannerText | None
    may_review_break_glass: bool
    # Set for people who can approve or decline it.
    preview: ApprovalPreview | None
    # The protection that keeps an open deletion from being sent.
    protection: Protection | None
    # True on the review page, where the rest of the deletion's page is not shown.
    is_apart: bool


def outcome_page(
    *,
    deletion: Deletion,
    actor: Actor,
    form: ServiceForm | None = None,
    notice: str = "",
    is_apart: bool = False,
) -> OutcomePage:
    """What `#outcome` shows."""
    now = clock.now()
    is_awaiting_approval = states.is_awaiting_approval(deletion)
    may_decide = is_awaiting_approval and _can_take(
        NextStep.APPROVE, deletion=deletion, actor=actor, now=now
    )
    preview = approval_preview(deletion, now=now) if may_decide else None
    text = wording.describe(
        deletion,
        approvers=tuple(approvals.names_of_possible_approvers(deletion=deletion))
        if is_awaiting_approval
        else None,
        may_approve=may_decide,
        seen_by=_seen_by(deletion, actor=actor) if deletion.contradicted_at else "",
        is_being_rechecked=states.is_being_rechecked(deletion, now=now),
    )
    protection = None if deletion.is_settled else protections.find_protection_against(deletion)
    return OutcomePage(
        deletion=deletion,
        text=text,
        steps={
            step.value: step
            for step in text.steps
            if _can_take(step, deletion=deletion, actor=actor, now=now)
            and not _is_blocked(step, preview=preview, protection=protection)
        },
        confirm_text=reviews.confirmation_text(deletion),
        form=form,
        notice=notice,
        poll_interval=poll_interval(deletion, now=now),
        version=state_version(deletion, now=now),
        **_links(deletion),
        is_own=is_awaiting_approval and actor.person == deletion.requested_by,
        break_glass=wording.break_glass_text(deletion),
        may_review_break_glass=break_glass.is_awaiting_review(deletion)
        and permissions.can_review_break_glass(actor, deletion=deletion),
        preview=preview,
        protection=protection,
        is_apart=is_apart,
    )


def _links(deletion: Deletion) -> dict[str, str]:
    return {
        "url": reverse("deletion-detail", args=[deletion.pk]),
        "again_url": review_url(
            credential=deletion.credential_id,
            connection_id=deletion.connection_id,
            again=str(deletion.pk),
        ),
        "connection_url": _connection_url(deletion),
    }


def _connection_url(deletion: Deletion) -> str:
    return reverse("org-connection-detail", args=[deletion.site, deletion.connection_id])


def _is_blocked(
    step: NextStep, *, preview: ApprovalPreview | None, protection: Protection | None
) -> bool:
    if protection and step in BLOCKED_BY_PROTECTION:
        return True
    return step == NextStep.APPROVE and preview is not None and not preview.may_approve


def _seen_by(deletion: Deletion, *, actor: Actor) -> str:
    """The credential that still listed it; "" where the actor may not see that credential."""
    for event in reversed(audit.events_of(subject=deletion)):
        if event.code == audit.EventCode.DELETION_CONTRADICTED:
            name = str(event.details.get("seen_by", ""))
            is_own = name == deletion.credential_name
            return name if is_own or permissions.can_see_everything(actor) else ""
    return ""


def _can_take(step: NextStep, *, deletion: Deletion, actor: Actor, now: datetime) -> bool:
    may_use = permissions.can_use(actor, credential_id=deletion.credential_id)
    is_awaiting_approval = states.is_awaiting_approval(deletion)
    match step:
        case NextStep.CONFIRM:
            can_confirm = lifecycle.can_confirm(deletion=deletion, person=actor.person)
            return may_use and can_confirm and not is_awaiting_approval
        case NextStep.APPROVE:
            return is_awaiting_approval and _can_decide(actor, deletion=deletion)
        case NextStep.DECLINE:
            # Approvals of another DELETE can still be declined after the last of them.
            has_approvals = bool(deletion.current_approvals)
            is_open = is_awaiting_approval or has_approvals
            return is_open and _can_decide(actor, deletion=deletion)
        case NextStep.BREAK_GLASS:
            may = permissions.can_break_glass(actor, deletion=deletion)
            # Once per deletion.
            return may and is_awaiting_approval and deletion.break_glass_at is None
        case NextStep.WITHDRAW:
            # People who can still decide decline instead, with a reason.
            is_to_decide = is_awaiting_approval and _can_decide(actor, deletion=deletion)
            may = permissions.can_withdraw(actor, deletion=deletion)
            return may and not is_to_decide and lifecycle.can_be_withdrawn(deletion)
        case NextStep.CHECK if deletion.state == State.SENDING:
            started = deletion.sending_at or now
            return may_use and clock.elapsed_since(started, now=now) >= time_limits.CLAIM_TIMEOUT
        case NextStep.CHECK | NextStep.CLOSE | NextStep.REQUEST_AGAIN:
            return may_use


def _can_decide(actor: Actor, *, deletion: Deletion) -> bool:
    may = permissions.can_approve(actor, deletion=deletion)
    return may and not deletion.is_decided_by(actor.person)
