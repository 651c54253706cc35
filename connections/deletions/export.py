"""The export of deletions: one row per deletion, with its attempts."""

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.export import Export
from connections.core.tabular import Row, as_time
from connections.deletions.history import HistoryFilter, iterate_deletions
from connections.models import Approval, ApprovalPolicy, Attempt, BreakGlassReview, Deletion

DELETION_COLUMNS = (
    "id",
    "site",
    "credential",
    "credential_fingerprint",
    "connection_id",
    "source_org",
    "source_org_id",
    "sink_org",
    "sink_org_id",
    "connection_types",
    "is_reviewed",
    "policy",
    "state",
    "outcome",
    "cause",
    "reason",
    "ticket",
    "requested_by",
    "requested_at",
    "confirmed_by",
    "confirmed_at",
    "approved_by",
    "approved_at",
    "sent_at",
    "settled_by",
    "settled_at",
    "settled_reason",
    "verified_at",
    "contradicted_at",
    "http_status",
    "errors",
    "attempts",
    "broke_glass",
)


def deletion_row(deletion: Deletion) -> Row:
    """A deletion with its attempts as an export row. Times are ISO 8601 in UTC.

    `approved_by` names the approvers of the last attempt; before the first, the approvers so far.
    """
    attempts = list(deletion.attempts.all())
    last = attempts[-1] if attempts else None
    approved = _approvals_of_round(deletion, approval_round=last.approval_round if last else 1)
    is_enough = len(approved) >= (ApprovalPolicy(deletion.policy).approvals_needed or 1)
    return {
        "id": str(deletion.id),
        "site": deletion.site,
        "credential": deletion.credential_name,
        "credential_fingerprint": deletion.credential_fingerprint,
        "connection_id": str(deletion.connection_id),
        "source_org": {"id": deletion.source_org_id, "name": deletion.source_org_name},
        "source_org_id": deletion.source_org_id,
        "sink_org": {"id": deletion.sink_org_id, "name": deletion.sink_org_name},
        "sink_org_id": deletion.sink_org_id,
        "connection_types": deletion.connection_types,
        "is_reviewed": deletion.is_reviewed,
        "policy": deletion.policy,
        "state": deletion.state,
        "outcome": deletion.outcome or None,
        "cause": deletion.cause or None,
        "reason": deletion.reason,
        "ticket": deletion.ticket,
        "requested_by": deletion.requested_by_name,
        "requested_at": as_time(deletion.requested_at),
        "confirmed_by": deletion.confirmed_by_name or None,
        "confirmed_at": as_time(deletion.confirmed_at),
        "approved_by": [approval.approver_name for approval in approved],
        "approved_at": as_time(approved[-1].decided_at if is_enough else None),
        "sent_at": as_time(deletion.sending_at),
        "settled_by": deletion.settled_by_name or None,
        "settled_at": as_time(deletion.settled_at),
        "settled_reason": deletion.settled_reason,
        "verified_at": as_time(deletion.verified_at),
        "contradicted_at": as_time(deletion.contradicted_at),
        "http_status": last.http_status if last else None,
        "errors": last.errors if last else [],
        "attempts": [_attempt_row(deletion, attempt) for attempt in attempts],
        "broke_glass": _break_glass_row(deletion) if deletion.break_glass_at else None,
    }


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


def prepare_export(*, actor: Actor, filters: HistoryFilter, file_format: str, query: str) -> Export:
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
        rows=lambda: map(deletion_row, iterate_deletions(actor=actor, filters=filters)),
        columns=DELETION_COLUMNS,
    )
