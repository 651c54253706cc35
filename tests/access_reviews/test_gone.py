"""A row is gone once syncs find its connection gone, not when no credential lists it any longer."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.access.actor import command_actor, person_actor
from connections.access_reviews.details import DeletionResult, load_details
from connections.access_reviews.rows import count_rows, review_rows
from connections.core.errors import ConflictError
from connections.credentials.retirement import retire_credential
from connections.models import (
    AccessKind,
    AccessReview,
    Credential,
    CredentialAccess,
    Person,
    RowState,
)
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, count_to_decide, decide, states, texts_of
from tests.batches.support import sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def retire(credential: Credential) -> None:
    credential.refresh_from_db()
    retire_credential(actor=command_actor(), credential=credential, confirmation=credential.name)


def remove(sandbox: SandboxServer, *texts: str) -> None:
    for text in texts:
        sandbox.world.remove_connection(connection_id=text.rpartition("/")[2])


def results(review: AccessReview, person: Person) -> list[DeletionResult | None]:
    actor = person_actor(person=person)
    rows = review_rows(review=review, actor=actor)
    return [each.result for each in load_details(review=review, actor=actor, rows=rows)]


def counts(review: AccessReview, person: Person) -> tuple[int, int, int]:
    """How many rows are shown, how many are pending, and how many the person can decide."""
    actor = person_actor(person=Person.objects.get(pk=person.pk))
    found = count_rows(reviews=[review], actor=actor)[review.pk]
    return found.states.total(), found.states[RowState.PENDING], found.decidable


def test_retiring_its_credential_keeps_the_state_of_a_row(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
):
    review = make_review(3)
    first, second, third = texts_of(review)
    decide(review, ada, first)
    decide(review, ada, second, decision="delete")
    retire(payments)
    assert states(review, ada) == ["keep", "delete", "pending"]
    assert count_to_decide(ada) == 1
    with pytest.raises(ConflictError, match="1 connection still needs a decision"):
        close(review, edith)
    page = client_of(ada).get(f"/reviews/{review.pk}/").content.decode()
    assert page.count("No credential in use lists this. Last seen ") == 3
    decide(review, ada, third)
    close(review, edith)
    assert states(review, ada) == ["keep", "delete", "keep"]
    assert results(review, ada) == [None, DeletionResult.NOT_DELETED, None]


def test_only_people_who_see_a_credential_decide_on_what_it_alone_lists_now(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
):
    review = make_review(1, ada, grace)
    [text] = texts_of(review)
    listed = sandbox.world.connection(connection_id=text.rpartition("/")[2])
    assert listed
    sandbox.world.add_key_pair(org=listed.sink_org)
    partner = store_credential(sandbox, listed.sink_org.name)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    assert counts(review, ada) == counts(review, grace) == (1, 1, 1)
    retire(partner)
    assert states(review, ada) == ["pending"]
    assert counts(review, ada) == (1, 1, 0)
    assert counts(review, grace) == (1, 1, 1)
    assert [count_to_decide(each) for each in (ada, grace)] == [0, 1]
    with pytest.raises(ConflictError, match="is now listed only by credentials that you can't see"):
        decide(review, ada)
    page = client_of(ada).get(f"/reviews/{review.pk}/").content.decode()
    assert "Now listed only by credentials that you can&#x27;t see" in page
    assert 'data-decide="keep"' not in page.split("<template")[0]
    decide(review, grace, decision="delete")
    assert states(review, ada) == states(review, grace) == ["delete"]
    remove(sandbox, text)
    clock.advance(seconds=1)
    sync_now(payments)
    assert states(review, ada) == states(review, grace) == ["delete"]
    assert results(review, ada) == [DeletionResult.REMOVED_OUTSIDE]


def test_only_a_decision_to_delete_outlives_its_connection(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
):
    review = make_review(4)
    to_delete, to_keep, changed, _ = texts_of(review)
    decide(review, ada, to_delete, changed, decision="delete")
    decide(review, ada, to_keep)
    sandbox.world.change_connection(
        connection_id=changed.rpartition("/")[2], connection_types=("audit",)
    )
    clock.advance(seconds=1)
    sync_now(payments)
    assert states(review, ada) == ["delete", "keep", "pending", "pending"]
    remove(sandbox, *texts_of(review))
    clock.advance(seconds=1)
    sync_now(payments)
    expected = [RowState.DELETE, RowState.GONE, RowState.GONE, RowState.GONE]
    assert states(review, ada) == expected
    assert "Removed outside Org Admin" in client_of(ada).get(f"/reviews/{review.pk}/").text
    with pytest.raises(ConflictError, match="no longer listed"):
        decide(review, ada, to_delete)
    close(review, edith)
    assert states(review, ada) == expected
    assert results(review, ada) == [DeletionResult.REMOVED_OUTSIDE, None, None, None]
