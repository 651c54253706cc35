"""Approving and declining a bulk deletion. Approving sends nothing.

An approval covers the plan's digest. It writes an approval of every row, which the database checks
like any other.
"""

from collections.abc import Sequence

from django.core.exceptions import PermissionDenied

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.batches import confirming, drafts
from connections.change_requests import states
from connections.change_requests.approvals import (
    NO_REASON_TO_DECLINE,
    approval_rows,
    store_decision,
)
from connections.change_requests.states import Approve, Settle
from connections.core import clock, time_limits
from connections.core.errors import ConflictError, OvertakenError
from connections.core.text import pluralize
from connections.core.typed_text import clean_text
from connections.models import (
    Approval,
    ApprovalPolicy,
    Batch,
    BatchState,
    Deletion,
    Outcome,
    Person,
)


def approve_batch(*, batch: Batch, actor: Actor, digest: str) -> None:
    """Approve every row of the plan. With enough approvals, the requester can confirm.

    `digest` is the approval digest of the plan that the page showed. No request goes to Datadog,
    because the pre-send check of every row follows anyway.

    Raises PermissionDenied, also for the person's own bulk deletion and when they can't approve
    every row; and ConflictError when it no longer waits for approval or differs from what was
    shown.
    """
    person = _require_approver(batch, actor=actor)
    permissions.require(
        permissions.can_approve_batch(actor, batch=batch), "approve all of this bulk deletion"
    )
    with audit.atomic(durable=True):
        rows = _lock(batch)
        _require_undecided(rows, person=person)
        if digest != batch.approval_digest:
            raise ConflictError(
                "The plan has changed since you opened it. Nothing was approved. "
                f"{drafts.CHECK_AGAIN}"
            )
        now = clock.now()
        approvals = store_decision(rows, person=person, decision=Approval.Decision.APPROVED, at=now)
        # Each person decided about every row.
        count = states.approvals_given(rows[0]).count()
        missing = max(0, ApprovalPolicy(batch.policy).approvals_needed - count)
        states.apply_to_all(
            rows,
            transition=Approve(missing=missing, at=now),
            actor=actor,
            events_of=lambda deletion: [
                audit.EventDraft(
                    code=EventCode.DELETION_APPROVED,
                    sentence=audit.Sentence(
                        "{actor} approved the deletion of {connection} as part of a bulk deletion.",
                        connection=deletion.description,
                    ),
                    details={
                        "digest": deletion.approval_digest,
                        "approval_round": deletion.approval_round,
                        "missing": missing,
                    },
                    rows=approval_rows(approvals[deletion.pk]),
                )
            ],
        )
        if not missing:
            batch.state = BatchState.APPROVED
            batch.approved_at = now
            batch.expires_at = now + time_limits.CONFIRMING_WINDOW
            batch.save()
        audit.record(
            code=EventCode.BATCH_APPROVED,
            actor=actor,
            subject=batch,
            sentence=audit.Sentence(
                "{actor} approved the bulk deletion of {connections}.",
                connections=pluralize(len(rows), "connection"),
            ),
            details={
                "approval_digest": digest,
                "missing": missing,
                "count": len(rows),
            },
            rows={"batch": audit.changed(batch, "state", "approved_at", actor=actor)},
        )


def decline_batch(*, batch: Batch, actor: Actor, reason: str) -> None:
    """Decline it with a reason, which closes every row. Nothing is sent.

    Raises PermissionDenied, also for the person's own bulk deletion; InvalidInputError without a
    reason; and ConflictError when it no longer waits for approval.
    """
    person = _require_approver(batch, actor=actor)
    reason = clean_text(reason, missing=NO_REASON_TO_DECLINE)
    with audit.atomic(durable=True):
        rows = _lock(batch)
        _require_undecided(rows, person=person)
        now = clock.now()
        approvals = store_decision(
            rows, person=person, decision=Approval.Decision.DECLINED, at=now, reason=reason
        )
        states.apply_to_all(
            rows,
            transition=Settle(outcome=Outcome.DECLINED, reason=reason),
            actor=actor,
            events_of=lambda deletion: [
                audit.EventDraft(
                    code=EventCode.DELETION_DECLINED,
                    sentence=audit.Sentence(
                        "{actor} declined the deletion of {connection} as part of a bulk deletion.",
                        connection=deletion.description,
                    ),
                    details={"reason": reason, "approval_round": deletion.approval_round},
                    rows=approval_rows(approvals[deletion.pk]),
                )
            ],
        )
        batch.end(state=BatchState.DECLINED, at=now, by_name=actor.name, reason=reason)
        audit.record(
            code=EventCode.BATCH_DECLINED,
            actor=actor,
            subject=batch,
            sentence=audit.Sentence(
                "{actor} declined the bulk deletion of {connections}. Nothing was sent.",
                connections=pluralize(len(rows), "connection"),
            ),
            details={"reason": reason, "count": len(rows)},
            rows={"batch": audit.changed(batch, *Batch.END_COLUMNS, actor=actor)},
        )


def _require_approver(batch: Batch, *, actor: Actor) -> Person:
    person = actor.person
    if person and person.pk in {batch.requested_by_id, batch.created_by_id}:
        raise permissions.OwnRequestError
    permissions.require(
        permissions.can_decline_batch(actor, batch=batch), "approve or decline this bulk deletion"
    )
    if person is None:
        raise PermissionDenied("Only a person can approve or decline.")
    return person


def _lock(batch: Batch) -> list[Deletion]:
    """Lock it and return its rows.

    With two simultaneous approvers, the second must count the first.
    """
    drafts.lock_batch(batch)
    is_over = drafts.has_expired(batch, now=clock.now())
    if batch.state != BatchState.REQUESTED or not batch.needs_approval or is_over:
        raise OvertakenError("This bulk deletion is no longer waiting for approval.")
    rows = confirming.lock_unsent(batch)
    if not rows:
        raise OvertakenError("Every connection of this bulk deletion was withdrawn.")
    return rows


def _require_undecided(rows: Sequence[Deletion], *, person: Person) -> None:
    if Approval.objects.filter(deletion=rows[0], approver=person, round=1).exists():
        raise OvertakenError("You already approved or declined this bulk deletion.")
