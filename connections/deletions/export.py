"""The export of deletions: one row per deletion, with its attempts."""

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.export import Export
from connections.core.tabular import Columns, Row, as_time
from connections.deletions.history import HistoryFilter, iterate_deletions
from connections.models import Approval, ApprovalPolicy, Attempt, BreakGlassReview, Deletion


def _last_attempt(deletion: Deletion) -> Attempt | None:
    attempts = list(deletion.attempts.all())
    return attempts[-1] if attempts else None


def _last_approvals(deletion: Deletion) -> list[Approval]:
    """The approvals of the last attempt; before the first, the approvals so far."""
    last = _last_attempt(deletion)
    return _approvals_of_round(deletion, approval_round=last.approval_round if last else 1)


def _approved_at(deletion: Deletion) -> str | None:
    approved = _last_approvals(deletion)
    is_enough = len(approved) >= (ApprovalPolicy(deletion.policy).approvals_needed or 1)
    return as_time(approved[-1].decided_at if is_enough else None)


def _break_glass_row(deletion: Deletion) -> Row:
    review: BreakGlassReview | None = getattr(deletion, "break_glass_review", None)
    return {
        "name": deletion.break_glass_by_name,
        "at": as_time(deletion.break_glass_at),
        "reason": deletion.break_glass_reason,
        "reviewed_by": review.reviewer_name if review else None,
        "reviewed_at": as_time(review.reviewed_at) if review else None,
        "review_note": review.note if review else None,
    }


def _approvals_of_round(deletion: Deletion, *, approval_round: int) -> list[Approval]:
    """The approvals of one round. Nothing is sent before the first round ends."""
    return [
        one
        for one in deletion.approvals.all()
        if one.decision == Approval.Decision.APPROVED and one.round == approval_round
    ]


def _attempt_row(deletion: Deletion, attempt: Attempt) -> Row:
    approved = _approvals_of_round(deletion, approval_round=attempt.approval_round)
    return {
        "number": attempt.number,
        "epoch": attempt.epoch,
        "credential": attempt.credential_name,
        "credential_fingerprint": attempt.credential_fingerprint,
        "was_rechecked": attempt.was_rechecked,
        "approved_by": [approval.approver_name for approval in approved],
        "sent_at": as_time(attempt.claimed_at),
        "answered_at": as_time(attempt.answered_at),
        "verdict": attempt.verdict or None,
        "cause": attempt.cause or None,
        "is_late": attempt.is_late,
        "duration_ms": attempt.duration_ms,
        "http_status": attempt.http_status,
        "headers": attempt.headers,
        "errors": attempt.errors,
        "body_sha256": attempt.body_sha256 or None,
        "body_is_complete": attempt.body_is_complete,
    }


# Times are ISO 8601 in UTC.
DELETION_COLUMNS = Columns[Deletion](
    {
        "id": lambda one: str(one.id),
        "site": lambda one: one.site,
        "credential": lambda one: one.credential_name,
        "credential_fingerprint": lambda one: one.credential_fingerprint,
        "connection_id": lambda one: str(one.connection_id),
        "source_org": lambda one: {"id": one.source_org_id, "name": one.source_org_name},
        "source_org_id": lambda one: one.source_org_id,
        "sink_org": lambda one: {"id": one.sink_org_id, "name": one.sink_org_name},
        "sink_org_id": lambda one: one.sink_org_id,
        "connection_types": lambda one: one.connection_types,
        "is_reviewed": lambda one: one.is_reviewed,
        "policy": lambda one: one.policy,
        "state": lambda one: one.state,
        "outcome": lambda one: one.outcome or None,
        "cause": lambda one: one.cause or None,
        "reason": lambda one: one.reason,
        "ticket": lambda one: one.ticket,
        "requested_by": lambda one: one.requested_by_name,
        "requested_at": lambda one: as_time(one.requested_at),
        "confirmed_by": lambda one: one.confirmed_by_name or None,
        "confirmed_at": lambda one: as_time(one.confirmed_at),
        "approved_by": lambda one: [each.approver_name for each in _last_approvals(one)],
        "approved_at": _approved_at,
        "sent_at": lambda one: as_time(one.sending_at),
        "settled_by": lambda one: one.settled_by_name or None,
        "settled_at": lambda one: as_time(one.settled_at),
        "settled_reason": lambda one: one.settled_reason,
        "verified_at": lambda one: as_time(one.verified_at),
        "contradicted_at": lambda one: as_time(one.contradicted_at),
        "http_status": lambda one: last.http_status if (last := _last_attempt(one)) else None,
        "errors": lambda one: last.errors if (last := _last_attempt(one)) else [],
        "attempts": lambda one: [_attempt_row(one, attempt) for attempt in one.attempts.all()],
        "broke_glass": lambda one: _break_glass_row(one) if one.break_glass_at else None,
    }
)
deletion_row = DELETION_COLUMNS.row


def prepare_export(
    *, actor: Actor, filters: HistoryFilter, file_format: str, query: str
) -> Export[Deletion]:
    """An export of every visible match, newest first. Raises PermissionDenied.

    Rows come in batches of constant memory, with their attempts and approvals. `query` is the
    filter as the person entered it.
    """
    permissions.require(permissions.can_export(actor), "export deletions")
    return Export(
        actor=actor,
        what="deletions",
        description="deletions",
        file_format=file_format,
        query=query,
        items=lambda: iterate_deletions(actor=actor, filters=filters),
        columns=DELETION_COLUMNS,
    )
