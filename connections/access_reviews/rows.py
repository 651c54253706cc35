"""The rows of an access review and their states: computed while it is open, stored at closing.

A row's newest decision counts while it covers what is listed and its last day has not passed. A row
without such a decision is pending. If every credential that lists the connection was retired, what
they last listed still applies. Once syncs find the connection gone, the row is gone too, unless the
decision was to delete it: that decision has been carried out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, QuerySet

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import (
    CurrentConnection,
    StoredKey,
    about_reviews,
    load_current,
    load_gone,
)
from connections.core import clock
from connections.inventory.inventory import fetch_stored, stored_id
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    OrgConnectionKey,
    ReviewDecision,
    RowState,
)


class NewestDecision(NamedTuple):
    """The part of a row's newest decision that states and counts need."""

    id: int
    decision: str
    keep_until: date | None
    review_digest: str
    decided_by_id: UUID

    @property
    def is_to_delete(self) -> bool:
        """Whether it says to delete the connection."""
        return self.decision == ReviewDecision.DELETE

    def counts(self, *, digest: str, today: date) -> bool:
        """Whether it covers what is listed and its last day has not passed."""
        return self.review_digest == digest and not self.has_ended(today=today)

    def has_ended(self, *, today: date) -> bool:
        """Whether the last day of a decision to keep has passed."""
        return self.keep_until is not None and self.keep_until < today


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One row as one person sees it. `details.load_details` adds what a page shows."""

    id: int
    position: int
    stored_key: StoredKey
    state: RowState
    # What the person can decide on. None if there is nothing to decide or the review is closed.
    current: CurrentConnection | None
    # Only credentials that are hidden from the person list it now.
    is_hidden_now: bool
    newest: NewestDecision | None
    decision_count: int

    @property
    def key(self) -> OrgConnectionKey:
        """Identifies the connection."""
        site, connection_id = self.stored_key
        return OrgConnectionKey(site=site, connection_id=UUID(connection_id))

    @property
    def digest(self) -> str:
        """What a form sends back, so that nobody decides on something the form didn't show."""
        return self.current.digest if self.current else ""

    @property
    def is_outdated(self) -> bool:
        """Whether it has a decision that is no longer valid."""
        return self.state == RowState.PENDING and self.newest is not None


class _StoredRow(NamedTuple):
    """One row, with its IDs in the form that `fetch_stored` returns."""

    review_id: str
    id: int
    position: int
    site: str
    connection_id: str
    closed_as: Any


class _State(NamedTuple):
    state: RowState
    # As in `ReviewRow`.
    current: CurrentConnection | None
    is_hidden_now: bool

    @property
    def is_decidable(self) -> bool:
        """Whether it is pending and this person can decide on it."""
        return self.state == RowState.PENDING and self.current is not None


def review_rows(*, review: AccessReview, actor: Actor) -> list[ReviewRow]:
    """The rows that the actor can see, in their order. Raises PermissionDenied.

    The number of queries doesn't depend on the number of rows.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    rows = _fetch_rows([review.pk], actor=actor, order_by=["position"])
    decisions, counts = _newest_decisions([review.pk])
    if review.is_closed:
        states: Iterable[_State] = (
            _State(RowState(row.closed_as), current=None, is_hidden_now=False) for row in rows
        )
    else:
        states = _compute_states([review.pk], rows=rows, decisions=decisions, actor=actor)
    return [
        ReviewRow(
            id=row.id,
            position=row.position,
            stored_key=(row.site, row.connection_id),
            state=each.state,
            current=each.current,
            is_hidden_now=each.is_hidden_now,
            newest=decisions.get(row.id),
            decision_count=counts[row.id],
        )
        for row, each in zip(rows, states, strict=True)
    ]


@dataclass(slots=True)
class RowCounts:
    """How many rows of an access review one person can see."""

    states: Counter[RowState] = field(default_factory=Counter)
    # Pending rows that the person can decide on as a reviewer.
    decidable: int = 0


def count_rows(*, reviews: Collection[AccessReview], actor: Actor) -> dict[UUID, RowCounts]:
    """How many rows of each access review have each state. Raises PermissionDenied.

    The number of queries doesn't depend on the number of rows or access reviews.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    counts = {review.pk: RowCounts() for review in reviews}
    closed = [review.pk for review in reviews if review.is_closed]
    stored = _visible_rows(closed, actor=actor).order_by()
    for review_id, state, count in stored.values_list("review", "closed_as").annotate(
        count=Count("pk")
    ):
        counts[review_id].states[RowState(state)] = count
    opened = [review.pk for review in reviews if not review.is_closed]
    if not opened:
        return counts
    by_stored_id = {stored_id(pk): counts[pk] for pk in opened}
    rows = _fetch_rows(opened, actor=actor)
    decisions, _ = _newest_decisions(opened)
    states = _compute_states(opened, rows=rows, decisions=decisions, actor=actor)
    for row, each in zip(rows, states, strict=True):
        of_review = by_stored_id[row.review_id]
        of_review.states[each.state] += 1
        of_review.decidable += each.is_decidable
    return counts


def _visible_rows(reviews: Collection[UUID], *, actor: Actor) -> QuerySet[AccessReviewRow]:
    return visibility.visible_access_review_rows(
        AccessReviewRow.objects.filter(review__in=reviews), actor=actor
    )


def _fetch_rows(
    reviews: Collection[UUID], *, actor: Actor, order_by: Sequence[str] = ()
) -> list[_StoredRow]:
    rows = _visible_rows(reviews, actor=actor).order_by(*order_by)
    stored = fetch_stored(
        rows.values_list("review", "id", "position", "site", "connection_id", "closed_as")
    )
    return list(map(_StoredRow._make, stored))


def _compute_states(
    reviews: Collection[UUID],
    *,
    rows: Iterable[_StoredRow],
    decisions: dict[int, NewestDecision],
    actor: Actor,
) -> Iterator[_State]:
    """The states of these rows of open access reviews. One query or two."""
    hidden = permissions.visibility_of(actor).hidden
    current = load_current(of=about_reviews(reviews), hidden=hidden)
    gone: dict[StoredKey, CurrentConnection] = {}
    if any(decision.is_to_delete for decision in decisions.values()):
        of_decided = about_reviews(reviews, decisions__decision=ReviewDecision.DELETE)
        gone = load_gone(of=of_decided)
    today = clock.now().date()
    for row in rows:
        key: StoredKey = (row.site, row.connection_id)
        known, newest = current.known.get(key), decisions.get(row.id)
        if known is None:
            state = _state_of_gone(gone.get(key), newest=newest)
            yield _State(state, current=None, is_hidden_now=False)
            continue
        decidable = current.find_decidable(key)
        yield _State(
            _state_of_listed(known, newest=newest, today=today),
            current=decidable,
            is_hidden_now=decidable is None,
        )


def _state_of_listed(
    known: CurrentConnection, *, newest: NewestDecision | None, today: date
) -> RowState:
    if newest is None or not newest.counts(digest=known.digest, today=today):
        return RowState.PENDING
    return RowState.DELETE if newest.is_to_delete else RowState.KEEP


def _state_of_gone(before: CurrentConnection | None, *, newest: NewestDecision | None) -> RowState:
    """`before` is the connection as syncs last listed it, for a row decided to be deleted."""
    if before and newest and newest.is_to_delete and newest.review_digest == before.digest:
        return RowState.DELETE
    return RowState.GONE


def count_states(rows: Iterable[ReviewRow]) -> Counter[RowState]:
    """How many of these rows have each state."""
    return Counter(row.state for row in rows)


def _newest_decisions(
    reviews: Collection[UUID],
) -> tuple[dict[int, NewestDecision], Counter[int]]:
    """The newest decision about each row of access reviews, and each row's number of decisions."""
    newest: dict[int, NewestDecision] = {}
    counts = Counter[int]()
    rows = AccessReviewDecision.objects.filter(row__review__in=reviews).order_by("id")
    for row_id, pk, decision, keep_until, digest, decided_by_id in rows.values_list(
        "row_id", "id", "decision", "keep_until", "review_digest", "decided_by_id"
    ):
        newest[row_id] = NewestDecision(pk, decision, keep_until, digest, decided_by_id)
        counts[row_id] += 1
    return newest, counts


def stored_key(key: OrgConnectionKey) -> StoredKey:
    """A connection's key in what `load_current` returns."""
    return key.site, stored_id(key.connection_id)
