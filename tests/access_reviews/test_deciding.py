"""Reviewers decide on what a row shows, and a decision counts while that stays the same."""

import json
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied

from connections import audit
from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_reviews import decisions
from connections.access_reviews.rows import review_rows
from connections.audit.chain import canonical_text
from connections.core import clock as database_clock
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.models import (
    AccessKind,
    AccessReviewDecision,
    AuditEvent,
    Credential,
    CredentialAccess,
    EventCode,
    Person,
)
from connections.verifier.events import Event
from connections.verifier.folding import fold
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import REASON, close, decide, states, texts_of
from tests.batches.support import sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def test_the_record_says_how_many_were_decided_at_once(make_review: MakeReview, ada: Person):
    review = make_review(3)
    made = decide(review, ada)
    assert [each.decided_together for each in made] == [3, 3, 3]
    [event] = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_DECIDED)
    assert event.details["decided_together"] == 3
    assert [decision["review_digest"] for decision in event.details["decisions"]] == [
        row.review_digest for row in review.rows.all()
    ]
    assert states(review, ada) == ["keep"] * 3


def test_the_newest_decision_counts_and_earlier_ones_stay(
    make_review: MakeReview, ada: Person, grace: Person
):
    review = make_review(1)
    decide(review, ada)
    decide(review, grace, decision="delete")
    assert states(review, ada) == ["delete"]
    assert list(AccessReviewDecision.objects.values_list("decision", flat=True)) == [
        "keep",
        "delete",
    ]


def test_a_row_whose_data_types_changed_is_pending_again(
    make_review: MakeReview, payments: Credential, sandbox: SandboxServer, ada: Person
):
    review = make_review(2)
    decide(review, ada)
    first = review.rows.all()[0]
    sandbox.world.change_connection(
        connection_id=str(first.connection_id), connection_types=("audit",)
    )
    sync_now(payments)
    assert states(review, ada) == ["pending", "keep"]
    decide(review, ada, first.key.reference)
    assert states(review, ada) == ["keep", "keep"]


def test_a_row_whose_creator_was_disabled_is_pending_again(
    make_review: MakeReview, payments: Credential, sandbox: SandboxServer, ada: Person
):
    review = make_review(1)
    decide(review, ada)
    sandbox.world.disable_creator(connection_id=str(review.rows.get().connection_id))
    sync_now(payments)
    assert states(review, ada) == ["pending"]


def test_keep_until_a_date_counts_through_that_day(
    make_review: MakeReview, payments: Credential, ada: Person, clock: SettableClock
):
    review = make_review(1)
    last_day = database_clock.now().date() + timedelta(days=2)
    decide(review, ada, keep_until=last_day)
    clock.advance(seconds=2 * 86_400)
    assert states(review, ada) == ["keep"]
    clock.advance(seconds=86_400)
    assert states(review, ada) == ["pending"]


def test_a_connection_that_disappeared_is_gone_and_takes_no_decision(
    make_review: MakeReview, payments: Credential, sandbox: SandboxServer, ada: Person
):
    review = make_review(2)
    first, second = review.rows.all()
    sandbox.world.remove_connection(connection_id=str(first.connection_id))
    sync_now(payments)
    assert states(review, ada) == ["gone", "pending"]
    with pytest.raises(ConflictError, match="no longer listed"):
        decide(review, ada)
    assert not AccessReviewDecision.objects.exists()
    decide(review, ada, second.key.reference)


def test_nobody_decides_about_something_that_the_page_did_not_show(
    make_review: MakeReview, payments: Credential, sandbox: SandboxServer, ada: Person
):
    review = make_review(2)
    shown = {
        row.key.reference: row.digest
        for row in review_rows(review=review, actor=person_actor(person=ada))
    }
    last = review.rows.all()[1]
    sandbox.world.change_connection(
        connection_id=str(last.connection_id), connection_types=("audit",)
    )
    sync_now(payments)
    with pytest.raises(OvertakenError):
        decide(review, ada, digests=shown)
    assert not AccessReviewDecision.objects.exists()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"reason": " \u200b"}, "reason"),
        ({"decision": "perhaps"}, "decision"),
        ({"keep_until": "today"}, "keep_until"),
        ({"keep_until": "later", "decision": "delete"}, "keep_until"),
        ({"connections": ["us1/not-an-id"]}, "connection"),
    ],
)
def test_input_is_checked(
    make_review: MakeReview, ada: Person, values: dict[str, object], field: str
):
    review = make_review(1)
    days = {"today": 0, "later": 9}
    if "keep_until" in values:
        today = database_clock.now().date()
        values = values | {"keep_until": today + timedelta(days=days[str(values["keep_until"])])}
    given = {"connections": texts_of(review), "decision": "keep", "reason": REASON} | values
    with pytest.raises(InvalidInputError) as refused:
        decisions.decide(review=review, actor=person_actor(person=ada), **given)  # type: ignore[arg-type]
    assert list(refused.value.fields) == [field]


def test_only_a_reviewer_decides(
    make_review: MakeReview, ada: Person, grace: Person, margaret: Person, edith: Person
):
    review = make_review(1, ada)
    for person in (grace, margaret, edith):
        with pytest.raises(PermissionDenied):
            decide(review, person)
    for actor in (WORKER, command_actor()):
        with pytest.raises(PermissionDenied):
            decisions.decide(
                review=review,
                actor=actor,
                connections=texts_of(review),
                decision="keep",
                reason=REASON,
            )
    decide(review, ada)


def test_without_named_reviewers_every_role_that_can_review_decides(
    make_review: MakeReview, ada: Person, linus: Person, edith: Person, margaret: Person
):
    review = make_review(1)
    for person in (ada, linus, edith):
        decide(review, person)
    with pytest.raises(PermissionDenied):
        decide(review, margaret)


def test_a_hidden_connection_is_answered_like_one_that_is_not_in_the_review(
    make_review: MakeReview, payments: Credential, ada: Person, grace: Person
):
    review = make_review(2)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    assert states(review, ada) == []
    with pytest.raises(InvalidInputError) as hidden:
        decide(review, ada)
    assert AuditEvent.objects.filter(code=EventCode.ACCESS_REFUSED).count() == 2
    with pytest.raises(InvalidInputError) as unknown:
        decide(review, ada, *(f"us9/{row.connection_id}" for row in review.rows.all()))
    assert hidden.value.fields == unknown.value.fields
    assert not AccessReviewDecision.objects.exists()
    decide(review, grace)


def test_what_only_a_hidden_credential_shows_yet_is_not_covered_by_a_decision(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    clock: SettableClock,
):
    review = make_review(1)
    row = review.rows.get()
    of_it = {"connection_id": str(row.connection_id)}
    listed = sandbox.world.connection(**of_it)
    assert listed
    sandbox.world.add_key_pair(org=listed.sink_org)
    partner = store_credential(sandbox, listed.sink_org.name)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    sandbox.world.change_connection(**of_it, connection_types=("audit",))
    clock.advance(seconds=1)
    sync_now(payments)
    with pytest.raises(ConflictError, match="just changed"):
        decide(review, ada)
    clock.advance(seconds=1)
    sync_now(partner)
    decide(review, ada)
    assert states(review, ada) == states(review, grace) == ["keep"]


def test_a_closed_access_review_takes_no_decision(
    make_review: MakeReview, ada: Person, edith: Person
):
    review = make_review(1)
    decide(review, ada)
    close(review, edith)
    with pytest.raises(ConflictError, match="closed"):
        decide(review, ada, decision="delete")
    assert states(review, ada) == ["keep"]


def test_decisions_made_together_fold_to_their_own_rows_whatever_their_ids():
    """Sorted by their names, the keys of an event are in another order than the decisions."""
    made = [
        AccessReviewDecision(
            pk=pk,
            row_id=row,
            decision="keep",
            reason="Needed.",
            covered={"creator_id": str(row)},
            review_digest=str(row) * 64,
            decided_by_name="command: ada",
            decided_together=3,
        )
        for pk, row in ((9, 1), (10, 2), (100, 3))
    ]
    rows = json.loads(canonical_text(decisions._rows_of(made)))
    event = Event(
        {
            "actor": {"id": None, "kind": "worker", "name": "worker"},
            "at": "",
            "code": "access_review.decided",
            "details": {"rows": rows},
            "refs": {},
            "sentence": "",
            "seq": 1,
        },
        {},
    )
    assert fold([event]) == {f"decision {one.pk}": audit.row_of(one) for one in made}
