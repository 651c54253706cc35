"""Access reviews in the form that bundles contain, and compared with their own audit events."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from django.db.models import Exists, OuterRef

from connections.core.database import read_in_chunks
from connections.core.tabular import Row, as_time
from connections.evidence.comparison import as_stored_in_events, compare_all
from connections.evidence.differing import DifferingRecords
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AuditEvent,
    OrgConnectionSnapshot,
    RowState,
    row_document,
)
from connections.verifier.access_reviews import access_review_differences
from connections.verifier.events import ACCESS_REVIEW, Event

# Rows per query.
_BATCH_SIZE = 1000

# The deletions of each connection, by its site and ID, newest first.
type DeletionsByConnection = Mapping[tuple[str, UUID], list[Row]]


def review_document(review: AccessReview) -> Row:
    """An access review without its rows."""
    counts = {state.value: review.rows.filter(closed_as=state).count() for state in RowState}
    return as_stored_in_events(
        {
            "id": str(review.pk),
            "name": review.name,
            "scope": review.scope,
            "state": review.state,
            "created_at": as_time(review.created_at),
            "created_by": review.created_by_name,
            "due_at": as_time(review.due_at),
            "is_for_everyone": review.is_for_everyone,
            "reviewers": [
                {"id": str(reviewer.person_id), "name": reviewer.name}
                for reviewer in review.reviewers.all()
            ],
            "row_count": review.row_count,
            "without_reviewer": review.without_reviewer,
            "population_digest": review.population_digest,
            "coverage": review.coverage,
            "closed_at": as_time(review.closed_at),
            "closed_by": review.closed_by_name or None,
            "open_reason": review.open_reason,
            "counts": counts,
            "closing_digest": review.closing_digest,
            "appeared": review.appeared,
            "coverage_at_close": review.coverage_at_close,
        }
    )


def iterate_row_documents(
    review: AccessReview, *, deletions: DeletionsByConnection
) -> Iterator[Row]:
    """The rows of an access review with their decisions and deletions, by position."""
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"), connection_id=OuterRef("connection_id"), is_current=True
    )
    rows = review.rows.annotate(is_gone=~Exists(listed)).prefetch_related("decisions")
    for row in read_in_chunks(rows, key="position", chunk_size=_BATCH_SIZE):
        yield as_stored_in_events(
            row_document(row)
            | {
                "decisions": [_decision_document(decision) for decision in row.decisions.all()],
                "closed_as": row.closed_as,
                "is_gone": row.is_gone,
                "deletions": deletions.get((row.site, row.connection_id), []),
            }
        )


def _decision_document(decision: AccessReviewDecision) -> Row:
    return {
        "id": decision.pk,
        "decision": decision.decision,
        "reason": decision.reason,
        "keep_until": decision.keep_until.isoformat() if decision.keep_until else None,
        "covered": decision.covered,
        "review_digest": decision.review_digest,
        "decided_at": as_time(decision.decided_at),
        "decided_by": decision.decided_by_name,
        "decided_together": decision.decided_together,
    }


def compare_all_access_reviews(differing: DifferingRecords) -> Iterator[None]:
    """Compare all access reviews. Yield after each."""
    events = AuditEvent.objects.filter(subject_type=ACCESS_REVIEW).order_by()
    return compare_all(
        AccessReview,
        subject_type=ACCESS_REVIEW,
        ids_in_events=set(events.values_list("subject_id", flat=True).distinct()),
        compare=_differences,
        differing=differing,
    )


def _differences(review: AccessReview, events: Sequence[Event]) -> list[str]:
    rows = iterate_row_documents(review, deletions={})
    return access_review_differences(review_document(review), rows, events)
