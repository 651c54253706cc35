"""The export of deletions: one row per deletion, with its attempts."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batch_ids
from connections.core.tabular import Columns, Row, as_time
from connections.deletions.history import HistoryFilter, iterate_values
from connections.exports.export import Export
from connections.models import Approval, ApprovalPolicy, Attempt, BreakGlassReview, Deletion


class RecordedDeletion(NamedTuple):
    """A deletion with its related rows. An export has named tuples in place of the models."""

    deletion: Deletion
    # Oldest first.
    attempts: Sequence[Attempt]
    approvals: Sequence[Approval]
    break_glass_review: BreakGlassReview | None
    # Its bulk deletion, if the person who exports can see it.
    batch_id: UUID | None

    @property
    def last_attempt(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def last_approvals(self) -> list[Approval]:
        """The approvals of the last attempt or, before the first attempt, the approvals so far."""
        last = self.last_attempt
        return self.approvals_of_round(last.approval_round if last else 1)

    def approvals_of_round(self, approval_round: int) -> list[Approval]:
        """The approvals of one round. Nothing is sent before the first round ends."""
        return [
            approval
            for approval in self.approvals
            if approval.decision == Approval.Decision.APPROVED and approval.round == approval_round
        ]


def _approved_at(record: RecordedDeletion) -> str | None:
    approved = record.last_approvals
    if not approved or len(approved) < ApprovalPolicy(record.deletion.policy).approvals_needed:
        return None
    return as_time(approved[-1].decided_at)


def _break_glass_row(record: RecordedDeletion) -> Row | None:
    deletion, review = record.deletion, record.break_glass_review
    if not deletion.break_glass_at:
        return None
    return {
        "name": deletion.break_glass_by_name,
        "at": as_time(deletion.break_glass_at),
        "reason": deletion.break_glass_reason,
        "reviewed_by": review.reviewer_name if review else None,
        "reviewed_at": as_time(review.reviewed_at) if review else None,
        "review_note": review.note if review else None,
    }


def _attempt_row(record: RecordedDeletion, attempt: Attempt) -> Row:
    approved = record.approvals_of_round(attempt.approval_round)
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
DELETION_EXPORT_COLUMNS = Columns[RecordedDeletion](
    {
        "id": lambda record: str(record.deletion.id),
        "batch": lambda record: str(record.batch_id) if record.batch_id else None,
        "site": lambda record: record.deletion.site,
        "credential": lambda record: record.deletion.credential_name,
        "credential_fingerprint": lambda record: record.deletion.credential_fingerprint,
        "connection_id": lambda record: str(record.deletion.connection_id),
        "source_org": lambda record: {
            "id": record.deletion.source_org_id,
            "name": record.deletion.source_org_name,
        },
        "source_org_id": lambda record: record.deletion.source_org_id,
        "sink_org": lambda record: {
            "id": record.deletion.sink_org_id,
            "name": record.deletion.sink_org_name,
        },
        "sink_org_id": lambda record: record.deletion.sink_org_id,
        "connection_types": lambda record: record.deletion.connection_types,
        "is_reviewed": lambda record: record.deletion.is_reviewed,
        "policy": lambda record: record.deletion.policy,
        "state": lambda record: record.deletion.state,
        "outcome": lambda record: record.deletion.outcome or None,
        "cause": lambda record: record.deletion.cause or None,
        "reason": lambda record: record.deletion.reason,
        "ticket": lambda record: record.deletion.ticket,
        "requested_by": lambda record: record.deletion.requested_by_name,
        "automatic": lambda record: bool(record.deletion.automatic),
        "requested_at": lambda record: as_time(record.deletion.requested_at),
        "confirmed_by": lambda record: record.deletion.confirmed_by_name or None,
        "confirmed_at": lambda record: as_time(record.deletion.confirmed_at),
        "approved_by": lambda record: [
            approval.approver_name for approval in record.last_approvals
        ],
        "approved_at": _approved_at,
        "sent_at": lambda record: as_time(record.deletion.sending_at),
        "settled_by": lambda record: record.deletion.settled_by_name or None,
        "settled_at": lambda record: as_time(record.deletion.settled_at),
        "settled_reason": lambda record: record.deletion.settled_reason,
        "verified_at": lambda record: as_time(record.deletion.verified_at),
        "contradicted_at": lambda record: as_time(record.deletion.contradicted_at),
        "http_status": lambda record: last.http_status if (last := record.last_attempt) else None,
        "errors": lambda record: last.errors if (last := record.last_attempt) else [],
        "attempts": lambda record: [_attempt_row(record, attempt) for attempt in record.attempts],
        "broke_glass": _break_glass_row,
    }
)
# Read as tuples, because making models takes longer than the rest of an export.
_DELETION_FIELDS = (
    *("id", "batch_id", "site", "credential_name", "credential_fingerprint", "connection_id"),
    *("source_org_id", "source_org_name", "sink_org_id", "sink_org_name", "connection_types"),
    *("automatic", "is_reviewed", "policy", "state", "outcome", "cause", "reason", "ticket"),
    *(
        "automatic",
        "requested_by_name",
        "requested_at",
        "confirmed_by_name",
        "confirmed_at",
        "sending_at",
    ),
    *("settled_by_name", "settled_at", "settled_reason", "verified_at", "contradicted_at"),
    *("break_glass_by_name", "break_glass_at", "break_glass_reason"),
)
_ATTEMPT_FIELDS = (
    *("number", "epoch", "credential_name", "credential_fingerprint", "was_rechecked"),
    *("approval_round", "claimed_at", "answered_at", "verdict", "cause", "is_late"),
    *("duration_ms", "http_status", "headers", "errors", "body_sha256", "body_is_complete"),
)
_APPROVAL_FIELDS = ("approver_name", "decision", "round", "decided_at")
_REVIEW_FIELDS = ("reviewer_name", "reviewed_at", "note")


def deletion_row(deletion: Deletion) -> Row:
    """The row of one deletion. Uses its prefetched attempts and approvals."""
    review = getattr(deletion, "break_glass_review", None) if deletion.break_glass_at else None
    attempts, approvals = list(deletion.attempts.all()), list(deletion.approvals.all())
    recorded = RecordedDeletion(deletion, attempts, approvals, review, deletion.batch_id)
    return DELETION_EXPORT_COLUMNS.row(recorded)


def _iterate(*, actor: Actor, filters: HistoryFilter) -> Iterator[RecordedDeletion]:
    for batch in iterate_values(actor=actor, filters=filters, fields=_DELETION_FIELDS):
        ids = [deletion.id for deletion in batch]
        attempts = _by_deletion(Attempt.objects.filter(deletion__in=ids), _ATTEMPT_FIELDS)
        # The database refuses approvals under a policy that needs none.
        decided = [deletion.id for deletion in batch if deletion.policy != ApprovalPolicy.NONE]
        approvals = _by_deletion(Approval.objects.filter(deletion__in=decided), _APPROVAL_FIELDS)
        with_break_glass = [deletion.id for deletion in batch if deletion.break_glass_at]
        break_glass_reviews = BreakGlassReview.objects.filter(deletion__in=with_break_glass)
        reviews = _by_deletion(break_glass_reviews, _REVIEW_FIELDS)
        visible_batches = visible_batch_ids(batch, actor=actor)
        for deletion in batch:
            pk = deletion.id
            review, *_ = reviews.get(pk, (None,))
            yield RecordedDeletion(
                deletion,
                attempts.get(pk, ()),
                approvals.get(pk, ()),
                review,
                deletion.batch_id if deletion.batch_id in visible_batches else None,
            )


def _by_deletion(rows: QuerySet[Any], fields: tuple[str, ...]) -> dict[UUID, list[Any]]:
    """Named tuples with these fields, by the ID of their deletion. Keeps the order of the rows."""
    by_deletion: dict[UUID, list[Any]] = {}
    for row in rows.values_list("deletion_id", *fields, named=True):
        by_deletion.setdefault(row.deletion_id, []).append(row)
    return by_deletion


def prepare_export(
    *, actor: Actor, filters: HistoryFilter, file_format: str, query: str
) -> Export[RecordedDeletion]:
    """An export of every visible match, newest first. Raises PermissionDenied.

    Reads rows in batches, with constant memory, each with its attempts and approvals. `query` is
    the filter as the person entered it.
    """
    permissions.require(permissions.can_export(actor), "export deletions")
    return Export(
        actor=actor,
        what="deletions",
        description="deletions",
        file_format=file_format,
        query=query,
        items=lambda: _iterate(actor=actor, filters=filters),
        columns=DELETION_EXPORT_COLUMNS,
    )
