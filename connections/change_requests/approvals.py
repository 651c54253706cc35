"""Approving and declining exactly what would be sent. Approving sends nothing.

An approval covers one confirmed attempt and its automatic retries. When an attempt ends unknown,
its approval round is over: if the connection is still present, the same people decide again.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError

from connections import audit
from connections.access import approvers, permissions
from connections.access.actor import Actor
from connections.change_requests import attempt_facts, lifecycle, rechecks, states
from connections.change_requests.actions import RecheckResult, action_of, protections_of
from connections.change_requests.states import Approve, EndRound, Settle
from connections.core import clock
from connections.core.causes import Cause, cause_text
from connections.core.errors import ConflictError, OvertakenError
from connections.core.typed_text import clean_text
from connections.inventory import protections
from connections.models import (
    ApprovalFields,
    ChangeRequest,
    CommonOutcome,
    Person,
    Step,
)

NO_REASON_TO_DECLINE = "Enter a reason for declining."


def approve[R: ChangeRequest](
    *, change_request: R, actor: Actor, digest: str, approval_round: int = 1
) -> R:
    """Approve what the digest identifies. With enough approvals, the requester can confirm.

    `digest` and `approval_round` are those that the approver's page showed, so a page opened before
    an earlier attempt can't approve a later one. The connection is checked with Datadog; if it
    changed or is gone, the request is settled instead. If the check fails, the approval covers the
    stored snapshot, and the pre-send check follows anyway.

    Raises PermissionDenied, also for one's own request, and ConflictError when it no longer
    waits for approval, differs from what was shown or is protected.
    """
    require_approver(change_request=change_request, actor=actor)
    lifecycle.require_not_run_by_batch(change_request)
    shown_round = approval_round
    if lifecycle.lapse_approvals(change_request=change_request, actor=actor):
        # The page showed the round that has just lapsed, and nothing has been sent since.
        shown_round += 1
    _require_awaiting_approval(change_request)
    protections.require_unprotected(protections_of([change_request]).first())
    if (digest, shown_round) != (change_request.approval_digest, change_request.approval_round):
        raise ConflictError("The request has changed since you opened it. Open it again.")
    _require_undecided(change_request=change_request, actor=actor)
    comparison = rechecks.recheck_and_store(change_request=change_request, actor=actor)
    if not comparison.can_be_approved:
        rechecks.settle_not_as_requested(
            change_request=change_request, comparison=comparison, actor=actor
        )
        not_sent_sentence = attempt_facts.not_sent_sentence_of(change_request)
        why = _NOT_AS_REQUESTED[comparison.result]
        if comparison.cause == Cause.AGREEMENT_CHANGED:
            why = f"{cause_text(comparison.cause)} So this can't be approved."
        raise ConflictError(f"{why} {not_sent_sentence}")
    with audit.atomic():
        _lock(change_request)
        _require_awaiting_approval(change_request)
        approval = _decide(
            change_request=change_request, actor=actor, decision=ApprovalFields.Decision.APPROVED
        )
        count = states.approvals_given(change_request).count()
        missing = max(0, states.approvals_needed(change_request) - count)
        event = audit.EventDraft(
            code=change_request.event_code(Step.APPROVED),
            sentence=audit.Sentence(
                "{actor} approved the {title} {connection}. {facts}",
                title=change_request.title,
                connection=change_request.description,
                facts=attempt_facts.not_sent_sentence_of(change_request),
            ),
            details={
                "digest": change_request.approval_digest,
                "approval_round": change_request.approval_round,
                "missing": missing,
                "was_read": comparison.result == RecheckResult.SAME,
                "not_read_because": comparison.cause,
            },
            rows=approval_rows(approval),
        )
        # Raised inside the transaction so that the approval itself is rolled back too.
        states.apply_or_refuse(
            change_request,
            transition=Approve(missing=missing, at=approval.decided_at),
            actor=actor,
            events=[event],
        )
    return change_request


_NOT_AS_REQUESTED = {
    RecheckResult.CHANGED: "The connection changed after the request, so this can't be approved.",
    RecheckResult.ABSENT: "Datadog no longer lists the connection, so there is nothing to approve.",
}


def _lock(change_request: ChangeRequest) -> None:
    """Lock the request. With two simultaneous approvers, the second must count the first."""
    rows = type(change_request)._default_manager.select_for_update(no_key=True)
    change_request.refresh_from_db(from_queryset=rows)


def names_of_possible_approvers(*, change_request: ChangeRequest, now: datetime) -> list[str]:
    """Names of the people who can see and approve this request and have not, in order.

    Once the approvals of a round have expired, they include the people who gave these.
    """
    people = approvers.people_who_can_approve(change_request=change_request).order_by("username")
    if not states.have_approvals_expired(change_request, now=now):
        decided = change_request.approvals.filter(round=change_request.approval_round)
        people = people.exclude(pk__in=decided.values("approver"))
    return [person.display_name for person in people]


def decline[R: ChangeRequest](*, change_request: R, actor: Actor, reason: str) -> R:
    """Decline it with a reason, which settles the request.

    A request without effect after an attempt stays open. Its approval round ends, so that
    approvals given in that round no longer count.

    Raises PermissionDenied, InvalidInputError without a reason, and OvertakenError when it is too
    late.
    """
    require_approver(change_request=change_request, actor=actor)
    lifecycle.require_not_run_by_batch(change_request)
    reason = clean_text(reason, missing=NO_REASON_TO_DECLINE)
    lifecycle.lapse_approvals(change_request=change_request, actor=actor)
    with audit.atomic():
        _lock(change_request)
        _require_declinable(change_request)
        declined = ApprovalFields.Decision.DECLINED
        approval = _decide(
            change_request=change_request, actor=actor, decision=declined, reason=reason
        )
        has_no_effect = change_request.has_no_effect
        connection, facts = (
            change_request.description,
            attempt_facts.attempts_summary_of(change_request),
        )
        if has_no_effect:
            sentence = audit.Sentence(
                "{actor} declined another {method} for {connection}. {facts}",
                method=action_of(change_request).method,
                connection=connection,
                facts=facts,
            )
        else:
            sentence = audit.Sentence(
                "{actor} declined the {title} {connection}. {facts}",
                title=change_request.title,
                connection=connection,
                facts=facts,
            )
        event = audit.EventDraft(
            code=change_request.event_code(Step.DECLINED),
            sentence=sentence,
            details={"reason": reason, "approval_round": change_request.approval_round},
            rows=approval_rows(approval),
        )
        transition = (
            EndRound() if has_no_effect else Settle(outcome=CommonOutcome.DECLINED, reason=reason)
        )
        states.apply_or_refuse(change_request, transition=transition, actor=actor, events=[event])
    return change_request


def require_approver(*, change_request: ChangeRequest, actor: Actor) -> None:
    """Raise PermissionDenied unless the actor can approve or decline it."""
    if actor.person and change_request.requested_by_id == actor.person.pk:
        raise permissions.OwnRequestError
    permissions.require(
        permissions.can_approve(actor, change_request=change_request),
        f"approve or decline this {change_request.label}",
    )


def _require_awaiting_approval(change_request: ChangeRequest) -> None:
    if not states.can_be_approved(change_request, now=clock.now()):
        verb = "is no longer" if change_request.needs_approval else "isn't"
        raise OvertakenError(f"This {change_request.label} {verb} waiting for approval.")


def _require_declinable(change_request: ChangeRequest) -> None:
    # A request without effect can't be withdrawn, so it can be declined even when approved.
    if change_request.has_no_effect and change_request.needs_approval:
        return
    _require_awaiting_approval(change_request)


def _decide(
    *,
    change_request: ChangeRequest,
    actor: Actor,
    decision: ApprovalFields.Decision,
    reason: str = "",
) -> ApprovalFields:
    """Store the decision."""
    if actor.person is None:
        raise ConflictError("Only a person can approve or decline.")
    now = clock.now()
    try:
        stored = store_decision(
            [change_request], person=actor.person, decision=decision, at=now, reason=reason
        )
    except OvertakenError:
        _require_undecided(change_request=change_request, actor=actor)
        raise
    return stored[change_request.pk]


def store_decision(
    change_requests: Sequence[ChangeRequest],
    *,
    person: Person,
    decision: ApprovalFields.Decision,
    at: datetime,
    reason: str = "",
) -> dict[UUID, ApprovalFields]:
    """Store a person's decision about each request. Return them by the request's ID.

    The database refuses one that doesn't match its row.

    Raises OvertakenError.
    """
    model = change_requests[0].approvals.model
    try:
        with audit.atomic():
            stored = model._default_manager.bulk_create(
                model(
                    **{model.parent: change_request},
                    approver=person,
                    approver_name=person.display_name,
                    requester_id=change_request.requested_by_id,
                    round=change_request.approval_round,
                    decision=decision,
                    digest=change_request.approval_digest,
                    reason=reason,
                    decided_at=at,
                )
                for change_request in change_requests
            )
    except IntegrityError:
        raise OvertakenError(states.MOVED_ON) from None
    return {approval.change_request_id: approval for approval in stored}


def approval_rows(approval: ApprovalFields) -> audit.Rows:
    """A stored decision as its event has it."""
    return {f"approval {approval.pk}": audit.row_of(approval)}


def _require_undecided(*, change_request: ChangeRequest, actor: Actor) -> None:
    decided = change_request.approvals.filter(
        approver=actor.person, round=change_request.approval_round
    )
    if decided.exists():
        raise OvertakenError(f"You already approved or declined this {change_request.label}.")
