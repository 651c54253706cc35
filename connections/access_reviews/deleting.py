"""Plans the deletion of the connections that an access review decided to delete."""

from typing import NamedTuple

from django.db.models import Q

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import about_reviews, load_current
from connections.access_reviews.rows import ReviewRow, review_rows
from connections.batches import drafts, facts
from connections.batches.drafts import PlannedConnection, PlanSource
from connections.core import clock
from connections.core.errors import ConflictError
from connections.core.text import join_names, pluralize
from connections.models import (
    GONE_OUTCOMES,
    OPEN_STATES,
    AccessReview,
    Batch,
    BatchOrigin,
    BatchRow,
    BatchState,
    Deletion,
    OrgConnectionKey,
    RowProblem,
    RowState,
)


class ToDelete(NamedTuple):
    """The listed connections that an access review decided to delete, without a deletion yet."""

    rows: list[ReviewRow]
    # Changed after the access review closed, so no one decided to delete them as they are now.
    changed: list[ReviewRow]
    # How many have a deletion, and how many are no longer listed.
    handled: int = 0
    gone: int = 0

    @property
    def deletable(self) -> int:
        """How many a plan can delete."""
        return sum(not row.is_protected for row in self.rows)

    @property
    def left_out_text(self) -> str:
        """ "1 protected, not included"; "" if a plan has all of them."""
        counts = {
            "protected": len(self.rows) - self.deletable,
            "already requested or deleted": self.handled,
            "no longer listed": self.gone,
        }
        texts = [f"{count:,} {what}" for what, count in counts.items() if count]
        return f"{join_names(texts)}, not included" if texts else ""

    @property
    def changed_text(self) -> str:
        """Why those that changed can't be planned; "" for none."""
        if not self.changed:
            return ""
        count = len(self.changed)
        what, them = ("it as it is", "it") if count == 1 else ("them as they are", "them")
        return (
            f"{pluralize(count, 'connection')} marked for deletion changed after this access "
            f"review closed, so no one decided to delete {what} now. Decide on {them} in a new "
            "access review."
        )


class PlannedDeletions(NamedTuple):
    """A draft of a bulk deletion, and how many connections didn't fit in it."""

    batch: Batch
    remaining: int
    # False if the person already had this draft.
    is_new: bool


def plan_deletions(*, review: AccessReview, actor: Actor) -> PlannedDeletions:
    """A draft of up to 1,000 connections that are to be deleted and not yet deleted.

    Leaves out those in an open draft of the same person. If none are left that can be deleted,
    returns that draft. Raises PermissionDenied, and ConflictError when nothing is left to delete.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    with audit.atomic():
        # Locked so that two simultaneous requests don't plan the same connections.
        AccessReview.objects.select_for_update(no_key=True).get(pk=review.pk)
        to_delete = find_to_delete(
            review=review, actor=actor, rows=review_rows(review=review, actor=actor)
        )
        rows = to_delete.rows
        if not rows:
            raise ConflictError(to_delete.changed_text or _ALL_HANDLED)
        drafts_by_key = _find_open_drafts(review, actor=actor)
        unplanned = [row for row in rows if row.key not in drafts_by_key]
        kept = facts.find_kept_among({row.key.connection_id for row in unplanned})
        if all(row.key in kept for row in unplanned):
            # A plan of these alone could delete nothing.
            open_drafts = [drafts_by_key[row.key] for row in rows if row.key in drafts_by_key]
            if not open_drafts:
                raise ConflictError(_ALL_KEPT)
            return PlannedDeletions(batch=open_drafts[0], remaining=0, is_new=False)
        # Last, because a plan leaves them out and would otherwise have no space for the others.
        unplanned.sort(key=lambda row: row.key in kept)
        planned, rest = unplanned[: drafts.MAX_ROWS], unplanned[drafts.MAX_ROWS :]
        source = PlanSource(
            origin=BatchOrigin.ACCESS_REVIEW,
            connections=[PlannedConnection(text=row.key.reference) for row in planned],
            access_review=review,
        )
        batch = drafts.create_draft(source=source, actor=actor)
    remaining = sum(row.key not in kept for row in rest)
    return PlannedDeletions(batch=batch, remaining=remaining, is_new=True)


def _find_open_drafts(review: AccessReview, *, actor: Actor) -> dict[OrgConnectionKey, Batch]:
    """The actor's open draft from this access review, for each connection in one."""
    now = clock.now()
    visible = visibility.visible_batches(actor=actor).filter(
        access_review=review, created_by=actor.person, state=BatchState.DRAFT
    )
    by_id = {draft.pk: draft for draft in visible if not drafts.has_expired(draft, now=now)}
    rows = BatchRow.objects.filter(batch__in=by_id, removed_at=None).exclude(connection_id=None)
    # These can be deleted again, with a new plan.
    rows = rows.exclude(problem__in=(RowProblem.CHANGED, RowProblem.KEPT))
    return {
        OrgConnectionKey(site=site, connection_id=connection_id): by_id[pk]
        for site, connection_id, pk in rows.values_list("site", "connection_id", "batch")
        if connection_id
    }


_ALL_HANDLED = "Every connection marked for deletion in this access review has been handled."
_ALL_KEPT = "Another access review has since decided to keep what is left to delete."


def find_to_delete(*, review: AccessReview, actor: Actor, rows: list[ReviewRow]) -> ToDelete:
    """What is left to delete among the actor's `review_rows`.

    A deletion counts while it is open, or if it succeeded after the access review started.
    """
    decided = [row for row in rows if row.state == RowState.DELETE]
    if not decided:
        return ToDelete([], [])
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
    left = [row for row in decided if row.key not in handled]
    same, changed = list[ReviewRow](), list[ReviewRow]()
    if review.is_closed:
        hidden = permissions.visibility_of(actor).hidden
        current = load_current(about_reviews([review.pk]), hidden=hidden)
        for row in left:
            visible = current.visible.get(row.hex_key)
            if visible and visible.is_listed:
                digest = current.known[row.hex_key].digest
                is_same = row.newest is not None and row.newest.review_digest == digest
                (same if is_same else changed).append(row)
    else:
        # A row that changed is to be decided again.
        same = [row for row in left if row.current and row.current.is_listed]
    return ToDelete(
        rows=same,
        changed=changed,
        handled=len(decided) - len(left),
        gone=len(left) - len(same) - len(changed),
    )
