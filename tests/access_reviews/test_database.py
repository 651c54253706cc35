"""The database refuses anything that would make the record of an access review false."""

import re

import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction

from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewReviewer,
    AccessReviewRow,
    Person,
)
from connections.people import erasure
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide
from tests.support.people import person_as_administrator

pytestmark = [pytest.mark.django_db, pytest.mark.database]

REVIEW, ROW = "connections_accessreview", "connections_accessreviewrow"
DECISION, REVIEWER = "connections_accessreviewdecision", "connections_accessreviewreviewer"
ALWAYS_REFUSED = {
    "rename": "UPDATE connections_accessreview SET name = 'x'",
    "postpone": "UPDATE connections_accessreview SET due_at = '2099-01-01 00:00:00'",
    "widen the scope": "UPDATE connections_accessreview SET scope = 'x'",
    "make everyone a reviewer": "UPDATE connections_accessreview SET is_for_everyone = TRUE",
    "change how many had no reviewer": "UPDATE connections_accessreview "
    "SET without_reviewer = without_reviewer + 1",
    "make room for a row": "UPDATE connections_accessreview SET row_count = row_count + 1",
    "another starter": "UPDATE connections_accessreview SET created_by_name = 'x'",
    "change the coverage": "UPDATE connections_accessreview SET coverage = '{}'",
    "remove it": "DELETE FROM connections_accessreview",
    "change a row": "UPDATE connections_accessreviewrow SET connection_types = '[]'",
    "move a row": "UPDATE connections_accessreviewrow SET position = position + 10",
    "remove a row": "DELETE FROM connections_accessreviewrow",
    "change a decision": "UPDATE connections_accessreviewdecision SET decision = 'delete'",
    "change a reason": "UPDATE connections_accessreviewdecision SET reason = 'x'",
    "change who decided": "UPDATE connections_accessreviewdecision SET decided_by_name = 'x'",
    "change how many at once": "UPDATE connections_accessreviewdecision SET decided_together = 1",
    "remove a decision": "DELETE FROM connections_accessreviewdecision",
    "change a reviewer": "UPDATE connections_accessreviewreviewer SET name = 'x'",
}
WHILE_OPEN = {
    "close with rows that have no state": "UPDATE connections_accessreview SET state = 'closed', "
    "closing_digest = 'x', closed_by_id = created_by_id, closed_at = created_at",
    "close a row as something else": "UPDATE connections_accessreviewrow SET closed_as = 'delete'",
}
ONCE_CLOSED = {
    "remove a reviewer": "DELETE FROM connections_accessreviewreviewer",
    "reopen": "UPDATE connections_accessreview SET state = 'open', closed_at = NULL, "
    "closed_by_id = NULL",
    "change the closing": "UPDATE connections_accessreview SET closing_digest = 'x'",
    "change what appeared": "UPDATE connections_accessreview SET appeared = '[1]'",
    "change who closed it": "UPDATE connections_accessreview SET closed_by_name = 'x'",
    "change a final state": "UPDATE connections_accessreviewrow SET closed_as = 'gone'",
}


@pytest.fixture
def review(make_review: MakeReview, ada: Person) -> AccessReview:
    """An access review of two rows with a named reviewer, who decided to keep both."""
    review = make_review(2, ada)
    decide(review, ada)
    return review


def refused(statement: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        return re.search("access review|reviewer can't", str(error)) is not None
    return False


def test_an_open_access_review_keeps_its_record(review: AccessReview, subtests: pytest.Subtests):
    for what, statement in (ALWAYS_REFUSED | WHILE_OPEN).items():
        with subtests.test(what=what):
            assert refused(statement)


def test_a_closed_access_review_keeps_its_record(
    review: AccessReview, edith: Person, subtests: pytest.Subtests
):
    close(review, edith)
    for what, statement in (ALWAYS_REFUSED | ONCE_CLOSED).items():
        with subtests.test(what=what):
            assert refused(statement)


def test_no_row_is_added_after_the_start(review: AccessReview):
    row = review.rows.all()[0]
    row.pk, row.position, row.site = None, 3, "elsewhere"
    with pytest.raises(DatabaseError, match="can't grow"), transaction.atomic():
        row.save(force_insert=True)


def test_only_an_open_access_review_with_named_reviewers_gets_another(
    review: AccessReview, make_review: MakeReview, grace: Person, edith: Person
):
    of_everyone = make_review(0)
    close(review, edith)
    for each in (review, of_everyone):
        with pytest.raises(DatabaseError, match="gets another reviewer"), transaction.atomic():
            AccessReviewReviewer.objects.create(review=each, person=grace, name="Grace")


def test_a_closed_access_review_for_everyone_gets_no_named_reviewers(
    make_review: MakeReview, ada: Person, edith: Person
):
    of_everyone = make_review(1)
    decide(of_everyone, ada)
    close(of_everyone, edith)
    assert refused("UPDATE connections_accessreview SET is_for_everyone = FALSE")


def test_a_closed_access_review_gets_no_decision(review: AccessReview, edith: Person):
    close(review, edith)
    decision = AccessReviewDecision.objects.all()[0]
    decision.pk = None
    with pytest.raises(DatabaseError, match="gets no decision"), transaction.atomic():
        decision.save(force_insert=True)


def test_pending_rows_are_left_open_only_with_a_reason(review: AccessReview):
    AccessReviewRow.objects.update(closed_as="pending")
    closes = WHILE_OPEN["close with rows that have no state"]
    assert refused(closes)
    assert not refused(f"{closes}, open_reason = 'On leave.'")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite replaces rows")
def test_nothing_is_replaced(review: AccessReview, subtests: pytest.Subtests):
    for table in (REVIEW, ROW, DECISION, REVIEWER):
        with subtests.test(table=table):
            assert refused(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")  # noqa: S608 - our own names


def test_erasing_a_person_replaces_the_names_and_nothing_else(
    review: AccessReview, ada: Person, edith: Person
):
    close(review, edith)
    administrator = person_as_administrator()
    numbers = [
        erasure.erase_person(actor=administrator, person=person).number for person in (ada, edith)
    ]
    new_names = [f"erased person no. {number}" for number in numbers]
    review.refresh_from_db()
    assert [review.reviewers.get().name, review.closed_by_name] == new_names
    assert review.created_by_name == new_names[1]
    names = AccessReviewDecision.objects.values_list("decided_by_name", flat=True)
    assert set(names) == {new_names[0]}
