"""Steps of an access review, made through the services."""

from datetime import timedelta
from typing import Any

from connections.access.actor import person_actor
from connections.access_reviews import closing, decisions, population, progress
from connections.access_reviews.rows import ReviewRow, review_rows
from connections.core import clock
from connections.models import AccessReview, AccessReviewDecision, Assignment, Person

REASON = "Feeds the claims dashboards."


def start(
    person: Person,
    *reviewers: Person,
    scope: str = "",
    days: int = 30,
    by_owners: bool = False,
    **others: Any,
) -> AccessReview:
    """The person starts an access review that is due in this many days."""
    return population.start_review(
        actor=person_actor(person=person),
        name="Q4 2026",
        scope=scope,
        due=clock.now().date() + timedelta(days=days),
        reviewers=reviewers,
        assignment=Assignment.OWNERS if by_owners else Assignment.REVIEWERS,
        **others,
    )


def texts_of(review: AccessReview) -> list[str]:
    """The connections of an access review, as forms name them."""
    return [row.key.reference for row in review.rows.all()]


def decide(
    review: AccessReview, person: Person, *connections: str, decision: str = "keep", **values: Any
) -> list[AccessReviewDecision]:
    """The person decides on these connections, or on all."""
    given: dict[str, Any] = {"reason": REASON, "decision": decision}
    return decisions.decide(
        review=review,
        actor=person_actor(person=person),
        connections=connections or texts_of(review),
        **(given | values),
    )


def count_to_decide(person: Person) -> int:
    """How many open access reviews wait for a decision of the person."""
    waiting = progress.list_waiting_reviews(actor=person_actor(person=person))
    return sum(1 for each in waiting if each.to_decide)


def rows_of(review: AccessReview, person: Person) -> list[ReviewRow]:
    """The rows that the person can see."""
    return review_rows(review=review, actor=person_actor(person=person))


def states(review: AccessReview, person: Person) -> list[str]:
    """The states of the rows that the person can see."""
    return [row.state for row in rows_of(review, person)]


def close(review: AccessReview, person: Person, open_reason: str = "") -> AccessReview:
    """The person closes the access review."""
    closing.close_review(review=review, actor=person_actor(person=person), open_reason=open_reason)
    return review
