"""The rows of an access review in exports: each connection with its state and decision."""

from collections.abc import Iterator
from itertools import batched

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.details import RowDetails, load_details
from connections.access_reviews.rows import review_rows
from connections.core.tabular import AsJson, Columns, Row, as_time
from connections.exports.export import Export
from connections.models import AccessReview, AccessReviewDecision

# How many rows are read together with their details.
_BATCH_SIZE = 500


def _decision_row(decision: AccessReviewDecision) -> Row:
    return {
        "decision": decision.decision,
        "reason": decision.reason,
        "keep_until": decision.keep_until.isoformat() if decision.keep_until else None,
        "decided_by": decision.decided_by.username,
        "decided_at": as_time(decision.decided_at),
        "decided_together": decision.decided_together,
    }


def _other_row(decision: AccessReviewDecision) -> AsJson:
    return AsJson({"access_review": str(decision.row.review_id), **_decision_row(decision)})


# Times are ISO 8601 in UTC. The connection is as syncs show it now or last showed it.
ROW_EXPORT_COLUMNS = Columns[RowDetails](
    {
        "id": lambda details: str(details.row.key.connection_id),
        "site": lambda details: details.row.key.site,
        "source_org": lambda details: details.connection.source_org,
        "source_org_id": lambda details: details.connection.source_org_id,
        "sink_org": lambda details: details.connection.sink_org,
        "sink_org_id": lambda details: details.connection.sink_org_id,
        "connection_types": lambda details: details.connection.connection_types,
        "created_at": lambda details: as_time(details.connection.connection_created_at),
        "created_by": lambda details: details.connection.creator,
        "created_by_disabled": lambda details: details.connection.creator_is_disabled,
        "as_of": lambda details: as_time(details.last_seen_at),
        "state": lambda details: details.row.state.value,
        "decisions": lambda details: [
            AsJson(_decision_row(decision)) for decision in details.decisions
        ],
        "other_decision": lambda details: (
            _other_row(details.other_decision) if details.other_decision else None
        ),
        "changes": lambda details: [change.kind for change in details.changes],
        "result": lambda details: details.result.value if details.result else None,
        "deletion": lambda details: str(details.deletion.pk) if details.deletion else None,
        "deletion_state": lambda details: details.deletion.state if details.deletion else None,
        "deletion_outcome": lambda details: (
            (details.deletion.outcome or None) if details.deletion else None
        ),
    }
)


def _iterate(review: AccessReview, *, actor: Actor) -> Iterator[RowDetails]:
    for rows in batched(review_rows(review=review, actor=actor), _BATCH_SIZE):
        yield from load_details(review=review, actor=actor, rows=rows)


def prepare_export(*, review: AccessReview, actor: Actor, file_format: str) -> Export[RowDetails]:
    """An export of every visible row, in their order. Raises PermissionDenied."""
    permissions.require(permissions.can_manage_access_reviews(actor), "export access reviews")
    return Export(
        actor=actor,
        what="access_review",
        description=f"the access review {review.name}",
        file_format=file_format,
        query=f"access_review={review.pk}",
        items=lambda: _iterate(review, actor=actor),
        columns=ROW_EXPORT_COLUMNS,
    )
