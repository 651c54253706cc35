"""Closing needs every row decided, or a reason; nothing of a closed access review changes."""

import pytest
from django.core.exceptions import PermissionDenied

from connections.access.actor import person_actor
from connections.access_reviews import closing
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import (
    AuditEvent,
    Credential,
    EventCode,
    Person,
    closing_digest_of,
)
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide, states, texts_of
from tests.batches.support import add_connections, sync_now

pytestmark = pytest.mark.django_db


def test_a_pending_row_needs_a_reason(make_review: MakeReview, ada: Person, edith: Person):
    review = make_review(2)
    decide(review, ada, texts_of(review)[0])
    for reason in ("", " \u200b"):
        with pytest.raises(ConflictError, match="1 connection still needs a decision"):
            close(review, edith, reason)
    with pytest.raises(InvalidInputError, match="A reason can have at most 4,000 characters"):
        close(review, edith, "x" * 4001)
    with pytest.raises(InvalidInputError, match="Enter a reason"):
        close(review, edith, "On\0leave.")
    assert not review.is_closed
    close(review, edith, "The owner is on leave.")
    assert states(review, edith) == ["keep", "pending"]
    assert review.open_reason == "The owner is on leave."


def test_the_closing_freezes_states_coverage_and_what_appeared(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
):
    review = make_review(3)
    first, second, third = review.rows.all()
    [keep] = decide(review, ada, first.key.reference)
    [delete] = decide(review, ada, second.key.reference, decision="delete")
    sandbox.world.remove_connection(connection_id=str(third.connection_id))
    [later] = add_connections(sandbox, 1)
    sync_now(payments)
    close(review, edith)
    sandbox.world.remove_connection(connection_id=str(first.connection_id))
    sync_now(payments)
    review.refresh_from_db()
    assert states(review, ada) == ["keep", "delete", "gone"]
    [appeared] = closing.appeared_since(review=review, actor=person_actor(person=ada))
    assert f"{appeared['site']}/{appeared['connection_id']}" == later
    event = AuditEvent.objects.get(code=EventCode.ACCESS_REVIEW_CLOSED)
    assert event.details["counts"] == {"pending": 0, "keep": 1, "delete": 1, "gone": 1}
    assert event.details["rows"]["access_review"]["closing_digest"] == closing_digest_of(
        rows=[(1, "keep", keep.pk), (2, "delete", delete.pk), (3, "gone", None)],
        appeared=review.appeared,
        coverage=review.coverage_at_close or {},
        open_reason="",
    )


def test_it_closes_once(make_review: MakeReview, ada: Person, edith: Person):
    review = make_review(1)
    decide(review, ada)
    close(review, edith)
    with pytest.raises(ConflictError, match="closed"):
        close(review, edith)
    assert AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_CLOSED).count() == 1


def test_only_auditors_and_administrators_close(make_review: MakeReview, ada: Person):
    review = make_review(1)
    decide(review, ada)
    with pytest.raises(PermissionDenied):
        close(review, ada)
