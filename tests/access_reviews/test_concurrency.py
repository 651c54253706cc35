"""People who decide and close at the same time leave a record that is true."""

from contextlib import suppress

import pytest
from django.db import connection

from connections.core.errors import ConflictError
from connections.models import AccessReviewDecision, AuditEvent, EventCode, Person
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide
from tests.support.at_once import at_once

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time."),
    pytest.mark.django_db(transaction=True),
]


def test_a_decision_is_either_part_of_the_closing_or_refused(
    make_review: MakeReview, ada: Person, edith: Person
) -> None:
    for number in range(6):
        review = make_review(number + 1)
        same = type(review).objects.get(pk=review.pk)

        def keep() -> None:
            with suppress(ConflictError):
                decide(same, ada)  # noqa: B023 - runs within this round

        at_once([keep, lambda: close(review, edith, "On leave.")])  # noqa: B023 - as above
        has_decisions = AccessReviewDecision.objects.filter(row__review=review).exists()
        closed_as = set(review.rows.values_list("closed_as", flat=True))
        assert closed_as == {"keep" if has_decisions else "pending"}


def test_decisions_about_the_same_row_are_recorded_in_the_order_that_counts(
    make_review: MakeReview, ada: Person, grace: Person
) -> None:
    review = make_review(2)
    same = type(review).objects.get(pk=review.pk)
    for _ in range(4):
        at_once([lambda: decide(review, ada), lambda: decide(same, grace, decision="delete")])
    events = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_DECIDED).order_by("seq")
    recorded = [each["id"] for event in events for each in event.details["decisions"]]
    assert recorded == list(AccessReviewDecision.objects.values_list("pk", flat=True))
    assert len(recorded) == 16
