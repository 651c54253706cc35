"""The rows of an access review in exports: each connection with its state and decision."""

from collections.abc import Iterator
from itertools import batched

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.details import RowDetails, load_details
from connections.access_reviews.rows import review_rows
from connections.audit.export import Export
from connections.core.tabular import AsJson, Columns, Row, as_time
from connections.models import AccessReview, AccessReviewDecision

# How many rows are read together with their details.
_BATCH_SIZE = 500


def _decision_row(one: AccessReviewDecision) -> Row:
    return {
        "decision": one.decision,
        "reason": one.reason,
        "keep_until": one.keep_until.isoformat() if one.keep_until else None,
        "decided_by": one.decided_by.username,
        "decided_at": as_time(one.decided_at),
        "decided_together": one.decided_together,
    }


def _other_row(one: AccessReviewDecision) -> AsJson:
    return AsJson({"access_review": str(one.row.review_id), **_decision_row(one)})


# Times are ISO 8601 in UTC. The connection is as syncs show it now or last showed it.
ROW_EXPORT_COLUMNS = Columns[RowDetails](
    {
        "id": lambda each: str(each.row.key.connection_id),
        "site": lambda each: each.row.key.site,
        "source_org": lambda each: {
            "id": each.connection.source_org_id,
            "name": each.connection.source_org_name,
        },
        "source_org_id": lambda each: each.connection.source_org_id,
        "sink_org": lambda each: {
            "id": each.connection.sink_org_id,
            "name": each.connection.sink_org_name,
        },
        "sink_org_id": lambda each: each.connection.sink_org_id,
        "connection_types": lambda each: each.connection.connection_types,
        "created_at": lambda each: as_time(each.connection.connection_created_at),
        "created_by": lambda each: {
            "id": each.connection.creator_id,
            "name": each.connection.creator_name,
            "disabled": each.connection.creator_is_disabled,
            "service_account": each.connection.creator_is_service_account,
        },
        "created_by_disabled": lambda each: each.connection.creator_is_disabled,
        "as_of": lambda each: as_time(each.last_seen_at),
        "state": lambda each: each.row.state.value,
        "decisions": lambda each: [AsJson(_decision_row(decision)) for decision in each.decisions],
        "other_decision": lambda each: (
            _other_row(each.other_decision) if each.other_decision else None
        ),
        "changes": lambda each: [change.kind for change in each.changes],
        "result": lambda each: each.result.value if each.result else None,
        "deletion": lambda each: str(each.deletion.pk) if each.deletion else None,
        "deletion_state": lambda each: each.deletion.state if each.deletion else None,
        "deletion_outcome": lambda each: (each.deletion.outcome or None) if each.deletion else None,
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
