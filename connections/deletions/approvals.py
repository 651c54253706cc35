"""Approving and declining exactly what would be sent. Approving sends nothing.

An approval covers one confirmed attempt and its automatic retries. When an attempt ends unknown,
its approval round is over: if the connection is still present, the same people decide again.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import ConflictError, OvertakenError
from connections.core.typed_text import clean_text
from connections.deletions import attempt_facts, lifecycle, states, verification
from connections.deletions.states import Approve, EndRound, Settle
from connections.deletions.verification import RecheckResult
from connections.inventory import protections
from connections.models import Approval, Deletion, Outcome, Person, State

NO_REASON_TO_DECLINE = "Enter a reason for declining."


def approve_deletion(
    *, deletion: Deletion, actor: Actor, digest: str, approval_round: int = 1
) -> Deletion:
    """Approve what the digest identifies. With enough approvals, the requester can confirm.

    `digest` and `approval_round` are those that the approver's page showed, so a page opened before
    an earlier attempt can't approve a later one. The connection is checked with Datadog; if it
    changed or is gone, the deletion is closed instead. If the check fails, the approval covers the
    stored snapshot, and the pre-send check follows anyway.

    Raises PermissionDenied, also for one's own deletion, and ConflictError when the deletion no
    longer waits for approval, differs from what was shown or is protected.
    """
    _require_approver(deletion=deletion, actor=actor)
    lifecycle.require_not_run_by_batch(deletion)
    shown_round = approval_round
    if lifecycle.lapse_approvals(deletion=deletion, actor=actor):
        # The page showed the round that has just lapsed, and nothing has been sent since.
        shown_round += 1
    _require_awaiting_approval(deletion)
    protections.require_unprotected(protections.find_protection(deletion.key))
    if (digest, shown_round) != (deletion.approval_digest, deletion.approval_round):
        raise ConflictError("The request has changed since you opened it. Open it again.")
    _require_undecided(deletion=deletion, actor=actor)
    comparison = verification.recheck_and_store(deletion=deletion, actor=actor)
    if not comparison.can_be_approved:
        verification.settle_not_as_requested(deletion=deletion, comparison=comparison, actor=actor)
        not_sent_sentence = attempt_facts.not_sent_sentence_of(deletion)
        raise ConflictError(f"{_NOT_AS_REQUESTED[comparison.result]} {not_sent_sentence}")
    with audit.atomic():
        _lock(deletion)
        _require_awaiting_approval(deletion)
        approval = _decide(deletion=deletion, actor=actor, decision=Approval.Decision.APPROVED)
        count = states.approvals_given(deletion).count()
        missing = max(0, states.approvals_needed(deletion) - count)
        event = audit.EventDraft(
            code=audit.EventCode.DELETION_APPROVED,
            sentence=audit.Sentence(
                "{actor} approved the deletion of {connection}. {facts}",
                connection=deletion.description,
                facts=attempt_facts.not_sent_sentence_of(deletion),
            ),
            details={
                "digest": deletion.approval_digest,
                "approval_round": deletion.approval_round,
                "missing": missing,
                "was_read": comparison.result == RecheckResult.SAME,
                "not_read_because": comparison.cause,
            },
            rows=approval_rows(approval),
        )
        # Raised inside the transaction so that the approval itself is rolled back too.
        states.apply_or_refuse(
            deletion,
            transition=Approve(missing=missing, at=approval.decided_at),
            actor=actor,
            events=[event],
        )
    return deletion


_NOT_AS_REQUESTED = {
    RecheckResult.CHANGED: "The connection changed after the request, so this can't be approved.",
    RecheckResult.ABSENT: "Datadog no longer lists the connection, so there is nothing to approve.",
}


def _lock(deletion: Deletion) -> None:
    """Lock the deletion. With two simultaneous approvers, the second must count the first."""
    deletion.refresh_from_db(from_queryset=Deletion.objects.select_for_update(no_key=True))


def names_of_possible_approvers(*, deletion: Deletion, now: datetime) -> list[str]:
    """Names of the people who could approve this deletion now and have not, in order.

    Once the approvals of a round have expired, they include the people who gave these.
    """
    people = permissions.people_who_can_approve(deletion=deletion).order_by("username")
    if not states.have_approvals_expired(deletion, now=now):
        decided = deletion.approvals.filter(round=deletion.approval_round)
        people = people.exclude(pk__in=decided.values("approver"))
    return [person.display_name for person in people]


def decline_deletion(*, deletion: Deletion, actor: Actor, reason: str) -> Deletion:
    """Decline it with a reason, which closes the deletion.

    A deletion that is still present after an attempt stays open. Its approval round ends, so that
    approvals given in that round no longer count.

    Raises PermissionDenied, InvalidInputError without a reason, and OvertakenError when it is too
    late.
    """
    _require_approver(deletion=deletion, actor=actor)
    lifecycle.require_not_run_by_batch(deletion)
    reason = clean_text(reason, missing=NO_REASON_TO_DECLINE)
    lifecycle.lapse_approvals(deletion=deletion, actor=actor)
    _require_declinable(deletion)
    with audit.atomic():
        _lock(deletion)
        _require_declinable(deletion)
        declined = Approval.Decision.DECLINED
        approval = _decide(deletion=deletion, actor=actor, decision=declined, reason=reason)
        is_still_present = deletion.state == State.STILL_PRESENT
        connection, facts = deletion.description, attempt_facts.attempts_summary_of(deletion)
        if is_still_present:
            sentence = audit.Sentence(
                "{actor} declined another DELETE for {connection}. {facts}",
                connection=connection,
                facts=facts,
            )
        else:
            sentence = audit.Sentence(
                "{actor} declined the deletion of {connection}. {facts}",
                connection=connection,
                facts=facts,
            )
        event = audit.EventDraft(
            code=audit.EventCode.DELETION_DECLINED,
            sentence=sentence,
            details={"reason": reason, "approval_round": deletion.approval_round},
            rows=approval_rows(approval),
        )
        transition = (
            EndRound() if is_still_present else Settle(outcome=Outcome.DECLINED, reason=reason)
        )
        states.apply_or_refuse(deletion, transition=transition, actor=actor, events=[event])
    return deletion


def _require_approver(*, deletion: Deletion, actor: Actor) -> None:
    if actor.person and deletion.requested_by_id == actor.person.pk:
        raise PermissionDenied("You requested this. Another person must approve it.")
    permissions.require(
        permissions.can_approve(actor, deletion=deletion), "approve or decline this deletion"
    )


def _require_awaiting_approval(deletion: Deletion) -> None:
    if not states.can_be_approved(deletion, now=clock.now()):
        raise OvertakenError("This deletion is no longer waiting for approval.")


def _require_declinable(deletion: Deletion) -> None:
    # A still-present deletion can't be withdrawn, so it can be declined even when approved.
    if deletion.state == State.STILL_PRESENT and deletion.needs_approval:
        return
    _require_awaiting_approval(deletion)


def _decide(
    *, deletion: Deletion, actor: Actor, decision: Approval.Decision, reason: str = ""
) -> Approval:
    """Store the decision."""
    if actor.person is None:
        raise ConflictError("Only a person can approve or decline.")
    now = clock.now()
    try:
        stored = store_decision(
            [deletion], person=actor.person, decision=decision, at=now, reason=reason
        )
    except OvertakenError:
        _require_undecided(deletion=deletion, actor=actor)
        raise
    return stored[deletion.pk]


def store_decision(
    deletions: Sequence[Deletion],
    *,
    person: Person,
    decision: Approval.Decision,
    at: datetime,
    reason: str = "",
) -> dict[UUID, Approval]:
    """Store a person's decision about each deletion. Return them by the deletion's ID.

    The database refuses one that doesn't match its row.

    Raises OvertakenError.
    """
    try:
        with audit.atomic():
            stored = Approval.objects.bulk_create(
                Approval(
                    deletion=deletion,
                    approver=person,
                    approver_name=person.display_name,
                    requester_id=deletion.requested_by_id,
                    round=deletion.approval_round,
                    decision=decision,
                    digest=deletion.approval_digest,
                    reason=reason,
                    decided_at=at,
                )
                for deletion in deletions
            )
    except IntegrityError:
        raise OvertakenError(states.MOVED_ON) from None
    return {approval.deletion_id: approval for approval in stored}


def approval_rows(approval: Approval) -> audit.Rows:
    """A stored decision as its event has it."""
    return {f"approval {approval.pk}": audit.row_of(approval)}


def _require_undecided(*, deletion: Deletion, actor: Actor) -> None:
    decided = deletion.approvals.filter(approver=actor.person, round=deletion.approval_round)
    if decided.exists():
        raise OvertakenError("You already approved or declined this deletion.")
