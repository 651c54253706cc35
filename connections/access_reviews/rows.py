"""The rows of an access review and their states: computed while it is open, stored at closing.

A row's newest decision counts while it covers what is listed and its last day has not passed. A row
without such a decision is pending. If every credential that lists the connection was retired, what
they last listed still applies. Once syncs find the connection gone, the row is gone too, unless the
decision was to delete it: that decision has been carried out.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple
from uuid import UUID

from django.db.models import Case, Count, Exists, OuterRef, QuerySet, UUIDField, When

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import (
    CurrentConnection,
    CurrentConnections,
    about_reviews,
    load_current,
    load_gone,
)
from connections.access_reviews.owners import assigned_to_owners, deciding_owner
from connections.core import clock
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    OrgConnectionKey,
    Protection,
    ReviewDecision,
    RowState,
)
from connections.models.text_columns import HexId, HexKey


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
    hex_key: HexKey
    state: RowState
    # What the person can decide on. None if there is nothing to decide or the review is closed.
    current: CurrentConnection | None
    # Only credentials that are hidden from the person list it now.
    is_hidden_now: bool
    newest: NewestDecision | None
    decision_count: int
    # Nobody can delete it, whatever is decided.
    is_protected: bool
    # Who alone decides on it. None if every reviewer does who sees it, or the review is closed.
    owner_id: UUID | None
    # Whether others decide on it: another owner or, if the person can't be one, the reviewers.
    is_for_another: bool

    @property
    def key(self) -> OrgConnectionKey:
        """Identifies the connection."""
        site, hex_id = self.hex_key
        return OrgConnectionKey(site=site, connection_id=UUID(hex_id))

    @property
    def digest(self) -> str:
        """What a form sends back, so that nobody decides on something the form didn't show."""
        return self.current.short_digest if self.current else ""

    @property
    def is_outdated(self) -> bool:
        """Whether it has a decision that is no longer valid."""
        return self.state == RowState.PENDING and self.newest is not None

    @property
    def is_decidable(self) -> bool:
        """Whether it is pending and this person can decide on it."""
        is_pending = self.state == RowState.PENDING
        return is_pending and self.current is not None and not self.is_for_another


def review_rows(*, review: AccessReview, actor: Actor) -> list[ReviewRow]:
    """The rows that the actor can see, in their order. Raises PermissionDenied.

    The number of queries doesn't depend on the number of rows.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    return _load_rows([review], actor=actor, are_closed=review.is_closed)[review.pk.hex]


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
    opened = [review for review in reviews if not review.is_closed]
    if not opened:
        return counts
    rows = _load_rows(opened, actor=actor)
    for review in opened:
        of_review = rows[review.pk.hex]
        counts[review.pk].states = count_states(of_review)
        counts[review.pk].decidable = sum(row.is_decidable for row in of_review)
    return counts


def _visible_rows(reviews: Collection[UUID], *, actor: Actor) -> QuerySet[AccessReviewRow]:
    return visibility.visible_access_review_rows(
        AccessReviewRow.objects.filter(review__in=reviews), actor=actor
    )


def _load_rows(
    of_reviews: Collection[AccessReview], *, actor: Actor, are_closed: bool = False
) -> dict[str, list[ReviewRow]]:
    """The visible rows of access reviews in their order, by the HexId of the access review.

    The number of queries doesn't depend on the number of rows.
    """
    reviews = [review.pk for review in of_reviews]
    decisions, decision_counts = _newest_decisions(reviews)
    own_id, owner = actor.person and actor.person.pk, Case(default=None, output_field=UUIDField())
    if assigned := assigned_to_owners(of_reviews):
        owner = Case(When(review__in=assigned, then=deciding_owner()))
    current, gone = CurrentConnections(known={}, visible={}), dict[HexKey, CurrentConnection]()
    if not are_closed:
        hidden = permissions.visibility_of(actor).hidden
        current = load_current(about_reviews(reviews), hidden=hidden)
        if any(decision.is_to_delete for decision in decisions.values()):
            gone = load_gone(about_reviews(reviews, decisions__decision=ReviewDecision.DELETE))
    own = {own_id} | ({None} if permissions.can_be_reviewer(actor) else set())
    today = clock.now().date()
    of_row = Protection.objects.filter(
        removal=None, site=OuterRef("site"), connection_id=OuterRef("connection_id")
    )
    stored = _visible_rows(reviews, actor=actor).order_by("review", "position")
    columns = ("id", "position", "site", HexId("connection_id"), "closed_as", Exists(of_row), owner)
    rows = defaultdict[str, list[ReviewRow]](list)
    for review_id, pk, position, site, hex_id, *others in stored.values_list(
        HexId("review_id"), *columns
    ):
        closed_as, is_protected, owner_id = others
        key, newest = (site, hex_id), decisions.get(pk)
        known, decidable = current.known.get(key), current.find_decidable(key)
        if are_closed:
            state = RowState(closed_as)
        elif known:
            state = _state_of_listed(known, newest=newest, today=today)
        else:
            state = _state_of_gone(gone.get(key), newest=newest)
        rows[review_id].append(
            ReviewRow(
                id=pk,
                position=position,
                hex_key=key,
                state=state,
                current=decidable,
                is_hidden_now=known is not None and decidable is None,
                newest=newest,
                decision_count=decision_counts[pk],
                is_protected=is_protected,
                owner_id=owner_id,
                is_for_another=owner_id not in own,
            )
        )
    return rows


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
