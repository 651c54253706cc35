"""Closing an access review freezes the final state of every row. Nothing changes after that."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.decisions import lock_open_review
from connections.access_reviews.population import WHO_CAN, coverage_document
from connections.access_reviews.rows import ReviewRow, count_states, review_rows
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, OvertakenError
from connections.core.text import pluralize
from connections.core.typed_text import clean_text, has_visible_text
from connections.inventory import storing
from connections.inventory.filters import parse_filter
from connections.inventory.inventory import Inventory, build_inventory, current_snapshots
from connections.models import (
    AccessReview,
    AccessReviewState,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    RowState,
    closing_digest_of,
)
from connections.models.text_columns import HexId


def close_review(
    *, review: AccessReview, actor: Actor, open_reason: str = "", shown_pending: str = ""
) -> None:
    """Close it permanently. `open_reason` says why pending rows are left open.

    `shown_pending` is the page's `pending_digest`; an empty one isn't compared.

    Raises PermissionDenied, InvalidInputError for `open_reason`, ConflictError when it is already
    closed or rows are pending without a reason, and OvertakenError when the pending rows differ
    from those the page showed.
    """
    permissions.require(permissions.can_manage_access_reviews(actor), WHO_CAN)
    if has_visible_text(open_reason):
        open_reason = clean_text(open_reason, field="open_reason")
    with audit.atomic():
        lock_open_review(review)
        # So that the states and the coverage come from the same syncs.
        storing.lock_snapshots()
        rows = review_rows(review=review, actor=actor)
        if shown_pending and shown_pending != pending_digest(rows):
            raise OvertakenError(
                "The connections that still need a decision have changed since you opened this "
                "page. The access review wasn't closed. Check them again."
            )
        pending = count_states(rows)[RowState.PENDING]
        if pending and not has_visible_text(open_reason):
            need = "needs" if pending == 1 else "need"
            raise ConflictError(
                f"{pluralize(pending, 'connection')} still {need} a decision. Decide, or give a "
                "reason for leaving the rest open."
            )
        _close(review, rows=rows, actor=actor, open_reason=open_reason if pending else "")


def pending_digest(rows: Iterable[ReviewRow]) -> str:
    """What the form sends back, so that nobody leaves a row open that the page didn't count."""
    positions = [str(row.position) for row in rows if row.state == RowState.PENDING]
    return sha256(",".join(positions).encode()).hexdigest()


def _close(review: AccessReview, *, rows: list[ReviewRow], actor: Actor, open_reason: str) -> None:
    for state in RowState:
        ids = [row.id for row in rows if row.state == state]
        review.rows.filter(pk__in=ids).update(closed_as=state)
    filters, _ = parse_filter(review.scope)
    inventory = build_inventory(actor=actor, filters=filters)
    review.appeared = _find_appeared(review, inventory=inventory)
    review.coverage_at_close = coverage_document(inventory.coverage)
    review.open_reason = open_reason
    review.closing_digest = closing_digest_of(
        rows=[(row.position, row.state, _decision_id(row)) for row in rows],
        appeared=review.appeared,
        coverage=review.coverage_at_close,
        open_reason=open_reason,
    )
    review.state = AccessReviewState.CLOSED
    review.closed_at = clock.now()
    review.closed_by, review.closed_by_name = actor.person, actor.name
    review.save()
    counts = count_states(rows)
    audit.record(
        code=EventCode.ACCESS_REVIEW_CLOSED,
        actor=actor,
        subject=review,
        sentence=audit.Sentence(
            "{actor} closed the access review {name}: {states}.",
            name=review.name,
            states=", ".join(f"{counts[state]:,} {_LABELS[state]}" for state in RowState),
        ),
        details={
            "closed_at": review.closed_at.isoformat(),
            "counts": {state.value: counts[state] for state in RowState},
            # So that a verifier notices when a decision that was later replaced is missing.
            "decisions": sum(row.decision_count for row in rows),
            "appeared": len(review.appeared),
            "open_reason": open_reason,
        },
        rows={
            "access_review": audit.changed(review, *_CLOSING_COLUMNS, actor=actor),
            "access_review_rows": audit.digest_of_rows(
                map(audit.row_of, review.rows.order_by("position"))
            ),
        },
    )


_CLOSING_COLUMNS = (
    *("state", "closed_at", "closed_by_id", "closed_by_name", "open_reason"),
    *("closing_digest", "appeared", "coverage_at_close"),
)


_LABELS = {
    RowState.PENDING: "left open",
    RowState.KEEP: "to keep",
    RowState.DELETE: "to delete",
    RowState.GONE: "gone",
}


def _decision_id(row: ReviewRow) -> int | None:
    is_decided = row.state in {RowState.KEEP, RowState.DELETE}
    return row.newest.id if row.newest and is_decided else None


def appeared_since(*, review: AccessReview, actor: Actor) -> list[dict[str, Any]]:
    """The visible connections that match the scope but are not in the population.

    For a closed access review, those at the time it was closed. Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    if not review.is_closed:
        if not _outside_population(review, current_snapshots(actor=actor)).exists():
            return []
        filters, _ = parse_filter(review.scope)
        return _find_appeared(review, inventory=build_inventory(actor=actor, filters=filters))
    keys = [
        OrgConnectionKey(site=appeared["site"], connection_id=UUID(appeared["connection_id"]))
        for appeared in review.appeared
    ]
    hidden = visibility.hidden_connections(keys, actor=actor, until=review.closed_at)
    return [each for key, each in zip(keys, review.appeared, strict=True) if key not in hidden]


def _outside_population(
    review: AccessReview, snapshots: QuerySet[OrgConnectionSnapshot]
) -> QuerySet[OrgConnectionSnapshot]:
    """The connections among these that are not in the population."""
    rows = review.rows.filter(site=OuterRef("site"), connection_id=OuterRef("connection_id"))
    return snapshots.filter(~Exists(rows))


def _find_appeared(review: AccessReview, *, inventory: Inventory) -> list[dict[str, Any]]:
    rows = review.rows.order_by()
    population = set(rows.values_list("site", HexId("connection_id")))
    return [
        {
            "site": connection.site,
            "connection_id": str(connection.connection_id),
            "source_org": {"id": connection.source_org.org_id, "name": connection.source_org.name},
            "sink_org": {"id": connection.sink_org.org_id, "name": connection.sink_org.name},
            "connection_types": connection.types,
        }
        for connection in inventory.matches
        if connection.key not in population
    ]
