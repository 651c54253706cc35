"""Planning the deletion of what an access review decided to delete."""

from typing import NamedTuple

from django.db.models import Q

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.current import in_reviews, load_current
from connections.access_reviews.rows import ReviewRow, review_rows, stored_key
from connections.batches import drafts
from connections.batches.drafts import PlannedConnection, PlanSource
from connections.core.errors import ConflictError
from connections.models import (
    GONE_OUTCOMES,
    OPEN_STATES,
    AccessReview,
    Batch,
    BatchOrigin,
    Deletion,
    OrgConnectionKey,
    RowState,
)


class PlannedDeletions(NamedTuple):
    """A draft of a bulk deletion, and how many connections it had no room for."""

    batch: Batch
    remaining: int


def plan_deletions(*, review: AccessReview, actor: Actor) -> PlannedDeletions:
    """A draft of the first 1,000 connections that are decided to delete and left to delete.

    Raises PermissionDenied, and ConflictError when none is left.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    rows = rows_to_delete(review=review, actor=actor, rows=review_rows(review=review, actor=actor))
    if not rows:
        raise ConflictError(
            "Every connection marked for deletion in this access review has been handled."
        )
    planned = rows[: drafts.MAX_ROWS]
    source = PlanSource(
        origin=BatchOrigin.ACCESS_REVIEW,
        connections=[PlannedConnection(text=row.text) for row in planned],
        access_review=review,
    )
    batch = drafts.create_draft(source=source, actor=actor)
    return PlannedDeletions(batch=batch, remaining=len(rows) - len(planned))


def rows_to_delete(*, review: AccessReview, actor: Actor, rows: list[ReviewRow]) -> list[ReviewRow]:
    """Of these rows, those decided to delete that are listed and have no deletion that counts.

    A deletion counts while it is open, and when it succeeded after the access review started.
    """
    decided = [row for row in rows if row.state == RowState.DELETE]
    if not decided:
        return []
    hidden = permissions.visibility_of(actor).hidden
    visible = load_current(of=in_reviews([review.pk]), hidden=hidden).visible
    listed = {key for key, each in visible.items() if each.is_listed}
    of_review = Deletion.objects.filter(
        connection_id__in=review.rows.order_by().values("connection_id")
    )
    counting = of_review.filter(
        Q(state__in=OPEN_STATES)
        | Q(outcome__in=GONE_OUTCOMES, requested_at__gte=review.created_at, contradicted_at=None)
    )
    handled = {
        OrgConnectionKey(site=site, connection_id=connection_id)
        for site, connection_id in counting.values_list("site", "connection_id")
    }
    return [row for row in decided if stored_key(row.key) in listed and row.key not in handled]
