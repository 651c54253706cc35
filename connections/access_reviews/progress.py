"""How far access reviews are, what they need from a person, and decisions about a connection."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.db.models import (
    Count,
    Exists,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Window,
)

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import deciding_credentials
from connections.access_reviews.rows import ReviewRow, count_rows
from connections.core import clock
from connections.inventory.inventory import current_snapshots
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    AccessReviewState,
    Assignment,
    OrgConnectionKey,
    Person,
    ReviewDecision,
    RowState,
    newest_decisions,
)


@dataclass(frozen=True, kw_only=True)
class ReviewerProgress:
    """What one reviewer has decided and has left to decide, of the rows that the reader can see."""

    name: str
    # False for a named reviewer who is disabled or no longer has the role.
    can_decide: bool
    # Rows whose newest decision is theirs and still valid.
    decided: int
    # Pending rows that they can decide on.
    pending: int


def list_reviewer_progress(
    *, review: AccessReview, rows: Sequence[ReviewRow]
) -> list[ReviewerProgress]:
    """Each reviewer's share of the `review_rows` that the reader can see, by name.

    Without named reviewers, it lists the owners with rows to decide, and the people who decided.
    """
    decided = Counter(
        row.newest.decided_by_id for row in rows if row.newest and row.state in _DECIDED
    )
    owners = {row.owner_id for row in rows if row.owner_id and row.state == RowState.PENDING}
    people = _reviewers(review, others=owners.union(decided))
    left = count_decidable(rows, people=people)
    return [
        ReviewerProgress(
            name=person.display_name,
            can_decide=can_decide,
            decided=decided[person.pk],
            pending=left[person.pk] if can_decide else 0,
        )
        for person, can_decide in people.items()
    ]


_DECIDED = frozenset({RowState.KEEP, RowState.DELETE})


def _reviewers(review: AccessReview, *, others: Collection[UUID]) -> dict[Person, bool]:
    """The reviewers to list, by name, and whether each can still decide."""
    listed = Q(pk__in=list(others)) | Q(pk__in=review.reviewers.values("person"))
    can_decide = permissions.deciders_of(review).filter(pk=OuterRef("pk"))
    people = Person.objects.filter(listed).annotate(can_decide=Exists(can_decide))
    return {
        person: bool(person.can_decide)
        for person in sorted(people, key=lambda each: each.display_name.casefold())
    }


def count_decidable(rows: Iterable[ReviewRow], *, people: Iterable[Person]) -> dict[UUID, int]:
    """How many of these rows each of these people can decide on and hasn't."""
    pending = [row for row in rows if row.state == RowState.PENDING]
    of_owners = Counter(row.owner_id for row in pending)
    of_all = [row.key for row in pending if row.owner_id is None]
    hidden = visibility.hidden_from(people)
    listed_by = deciding_credentials(of_all) if any(hidden.values()) else {}
    reviewers = set(permissions.possible_reviewers().values_list("pk", flat=True)) if of_all else ()
    counts = Counter({pk: of_owners[pk] for pk in hidden})
    for pk in hidden.keys() & reviewers:
        seen = [key for key in of_all if not hidden[pk] or not listed_by[key] <= hidden[pk]]
        counts[pk] += len(seen)
    return counts


# --- What access reviews need from a person ---------------------------------------------------


def open_reviews_to_decide(*, actor: Actor) -> QuerySet[AccessReview]:
    """The open access reviews that the actor can see and decide in, by due date."""
    if actor.person is None:
        return AccessReview.objects.none()
    named = Q(assignment=Assignment.OWNERS, rows__owner=actor.person)
    if permissions.can_be_reviewer(actor):
        named = Q(reviewers__person=actor.person) | Q(is_for_everyone=True)
    reviews = visibility.visible_access_reviews(actor=actor).filter(
        named, state=AccessReviewState.OPEN
    )
    return reviews.distinct().order_by("due_at", "id")


@dataclass(frozen=True, kw_only=True)
class WaitingReview:
    """An open access review, and what the actor can do in it."""

    review: AccessReview
    # Pending rows that the actor can decide on, and all pending rows that the actor can see.
    to_decide: int
    pending: int


def list_waiting_reviews(*, actor: Actor) -> list[WaitingReview]:
    """The open access reviews with rows to decide, or that the actor can close, by due date.

    The number of queries doesn't depend on the number of access reviews.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    can_close = permissions.can_manage_access_reviews(actor)
    asks = Exists(open_reviews_to_decide(actor=actor).filter(pk=OuterRef("pk")))
    visible = visibility.visible_access_reviews(actor=actor).filter(state=AccessReviewState.OPEN)
    reviews = visible.annotate(asks=asks).order_by("due_at", "id")
    if not can_close:
        reviews = reviews.filter(asks=True)
    if not reviews:
        return []
    counts = count_rows(reviews=reviews, actor=actor)
    waiting = [
        WaitingReview(
            review=review,
            to_decide=counts[review.pk].decidable if review.asks else 0,
            pending=counts[review.pk].states[RowState.PENDING],
        )
        for review in reviews
    ]
    return [review for review in waiting if review.to_decide or can_close]


# --- Decisions about connections --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ExpiredKeeps:
    """The decisions to keep connections until a date that has passed."""

    count: int
    # Those with the earliest dates, each with its row and access review.
    earliest: Sequence[AccessReviewDecision]


def find_expired_keeps(*, actor: Actor, today: date, limit: int) -> ExpiredKeeps:
    """The newest decisions that keep a visible listed connection until a date that has passed.

    Without those that an open access review asks to decide. At most `limit` are loaded. One query.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    listed = current_snapshots(actor=actor).filter(
        site=OuterRef("row__site"), connection_id=OuterRef("row__connection_id")
    )
    still_valid = ~Q(decision=ReviewDecision.KEEP, keep_until__lt=today)
    asked_again = AccessReviewRow.objects.filter(
        ~Exists(AccessReviewDecision.objects.filter(still_valid, row=OuterRef("pk"))),
        site=OuterRef("row__site"),
        connection_id=OuterRef("row__connection_id"),
        review__state=AccessReviewState.OPEN,
    )
    passed = newest_decisions().filter(
        Exists(listed),
        ~Exists(asked_again),
        decision=ReviewDecision.KEEP,
        keep_until__lt=today,
    )
    counted = passed.annotate(count=Window(Count("*"))).order_by("keep_until", "id")
    # Large documents that the overview doesn't show.
    documents = (f"row__review__{name}" for name in ("coverage", "coverage_at_close", "appeared"))
    earliest = list(counted.select_related("row__review").defer(*documents)[:limit])
    return ExpiredKeeps(count=earliest[0].count if earliest else 0, earliest=earliest)


def list_own_reasons(*, review: AccessReview, actor: Actor, limit: int = 10) -> list[str]:
    """The reasons that the actor gave in this access review, newest first, each once."""
    own = AccessReviewDecision.objects.filter(row__review=review, decided_by=actor.person)
    reasons = own.order_by().values_list("reason").annotate(newest=Max("pk"))
    return [reason for reason, _ in reasons.order_by("-newest")[:limit]]


@dataclass(frozen=True, kw_only=True)
class ConnectionDecision:
    """One decision about a connection, for the connection's page and timeline."""

    # With its row and access review.
    decision: AccessReviewDecision
    # Whether the actor can see a row of the access review.
    is_review_visible: bool
    # Whether it keeps the connection until a date that has passed.
    has_ended: bool


def find_keep_decision(*, actor: Actor, key: OrgConnectionKey) -> AccessReviewDecision | None:
    """The newest decision about a connection, with its review, if it is to keep it.

    None if the actor can't see the connection.
    """
    kept = newest_decisions().filter(
        decision=ReviewDecision.KEEP, row__site=key.site, row__connection_id=key.connection_id
    )
    decision = kept.select_related("row__review").first()
    if decision is None or visibility.hidden_connections([key], actor=actor):
        return None
    return decision


def list_decisions(*, actor: Actor, key: OrgConnectionKey) -> list[ConnectionDecision]:
    """Every decision about a connection, oldest first.

    Empty if the actor can't see the connection.
    """
    permissions.require(permissions.can_see(actor), "see access reviews")
    if visibility.hidden_connections([key], actor=actor):
        return []
    decisions = AccessReviewDecision.objects.filter(
        row__site=key.site, row__connection_id=key.connection_id
    )
    in_order = list(decisions.select_related("row__review").order_by("id"))
    visible = visibility.visible_access_review_ids(
        {decision.row.review_id for decision in in_order}, actor=actor
    )
    today = clock.now().date()
    return [
        ConnectionDecision(
            decision=decision,
            is_review_visible=decision.row.review_id in visible,
            has_ended=decision.has_ended(today=today),
        )
        for decision in in_order
    ]
