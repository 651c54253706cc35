"""What one person sees of an access review, and what waits for them."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.http import Http404
from django.test import Client

from connections.access.actor import Actor, person_actor
from connections.access_reviews import progress
from connections.access_reviews.details import load_details
from connections.access_reviews.rows import review_rows
from connections.core import clock as database_clock
from connections.lookups.objects import find_access_review
from connections.models import (
    AccessKind,
    AccessReview,
    AccessReviewDecision,
    AuditEvent,
    Change,
    Credential,
    CredentialAccess,
    EventCode,
    OrgConnectionKey,
    Person,
)
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.access_reviews.support import close, decide, start, states, texts_of
from tests.batches.support import sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def progress_of(review: AccessReview, person: Person) -> list[tuple[str, int, int]]:
    """Each reviewer as this person sees it: the name, and how many they decided and have left."""
    rows = review_rows(review=review, actor=person_actor(person=person))
    found = progress.list_reviewer_progress(review=review, rows=rows)
    return [(each.name, each.decided, each.pending) for each in found]


def waiting(person: Person) -> list[tuple[int, int]]:
    """What the overview says of each access review: what is pending for this person, and in all."""
    found = progress.list_waiting_reviews(actor=person_actor(person=person))
    return [(each.to_decide, each.pending) for each in found]


def test_progress_counts_what_the_reader_sees_and_each_reviewer_has_left(
    make_review: MakeReview, ada: Person, grace: Person, edith: Person
):
    review = make_review(3, ada, grace)
    decide(review, ada, *texts_of(review)[:2])
    decide(review, grace, texts_of(review)[1], decision="delete")
    assert states(review, edith) == ["keep", "delete", "pending"]
    assert progress_of(review, edith) == [("Ada", 1, 1), ("Grace", 1, 1)]


def test_a_reviewer_who_sees_only_part_counts_only_that(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
):
    review = make_review(3, ada, edith)
    org = sandbox.world.connection(connection_id=str(review.rows.all()[1].connection_id))
    assert org
    sandbox.world.add_key_pair(org=org.sink_org)
    store_credential(sandbox, org.sink_org.name)
    CredentialAccess.objects.create(credential=payments, person=edith, kind=AccessKind.SEE)
    assert states(review, ada) == ["pending"]
    assert [pending for _, _, pending in progress_of(review, ada)] == [1, 1]
    assert [pending for _, _, pending in progress_of(review, edith)] == [1, 3]
    [row] = review_rows(review=review, actor=person_actor(person=ada))
    decide(review, ada, row.key.reference)
    assert states(review, edith) == ["pending", "keep", "pending"]


def test_an_access_review_without_a_visible_row_is_not_found(
    make_review: MakeReview, payments: Credential, ada: Person, grace: Person
):
    review = make_review(1)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    assert find_access_review(actor=person_actor(person=grace), pk=review.pk) == review
    with pytest.raises(Http404):
        find_access_review(actor=person_actor(person=ada), pk=review.pk)
    [event] = AuditEvent.objects.filter(code=EventCode.ACCESS_REFUSED)
    assert (event.subject_type, event.subject_id) == ("access_review", str(review.pk))
    assert progress.list_waiting_reviews(actor=person_actor(person=ada)) == []


def test_details_show_the_last_decision_and_the_changes_since(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    clock: SettableClock,
):
    first = make_review(1)
    [made] = decide(first, ada)
    close(first, edith)
    [row] = first.rows.all()
    clock.advance(minutes=30)
    sandbox.world.change_connection(
        connection_id=str(row.connection_id), connection_types=("audit", "logs")
    )
    sync_now(payments)
    clock.advance(minutes=30)
    second = make_review(1)
    actor = person_actor(person=ada)
    details = load_details(review=second, actor=actor, rows=review_rows(review=second, actor=actor))
    [of_it] = [each for each in details if each.row.key == row.key]
    assert of_it.last_decision == made
    assert [change.kind for change in of_it.changes] == [Change.Kind.TYPES_CHANGED]
    assert sorted(of_it.connection.connection_types) == ["audit", "logs"]
    assert of_it.decision is None
    decide(second, ada, row.key.reference)
    [third] = decide(start(edith, scope="q=Partner"), ada, row.key.reference, decision="delete")
    details = load_details(review=second, actor=actor, rows=review_rows(review=second, actor=actor))
    [of_it] = [each for each in details if each.row.key == row.key]
    assert (of_it.last_decision, of_it.changes) == (third, [])


def find_expired_keeps(actor: Actor) -> Sequence[AccessReviewDecision]:
    return progress.find_expired_keeps(
        actor=actor, today=database_clock.now().date(), limit=5
    ).earliest


def test_a_connection_is_due_again_once_its_last_day_has_passed(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    clock: SettableClock,
):
    review = make_review(2)
    last_day = database_clock.now().date() + timedelta(days=1)
    first, second = decide(review, ada, keep_until=last_day)
    close(review, edith)
    actor = person_actor(person=ada)
    assert find_expired_keeps(actor) == []
    clock.advance(seconds=2 * 86_400)
    assert find_expired_keeps(actor) == [first, second]
    limited = progress.find_expired_keeps(actor=actor, today=database_clock.now().date(), limit=1)
    assert (limited.count, limited.earliest) == (2, [first])
    sandbox.world.remove_connection(connection_id=str(first.row.connection_id))
    sync_now(payments)
    assert find_expired_keeps(actor) == [second]
    key = OrgConnectionKey(site=second.row.site, connection_id=second.row.connection_id)
    [listed] = progress.list_decisions(actor=actor, key=key)
    assert (listed.decision, listed.has_ended) == (second, True)
    again = make_review(0)
    decide(again, ada, second.row.key.reference)
    assert find_expired_keeps(actor) == []


def test_a_connection_that_an_open_access_review_asks_about_again_is_not_counted_twice(
    make_review: MakeReview, ada: Person, edith: Person, clock: SettableClock
):
    last_day = database_clock.now().date() + timedelta(days=1)
    review = make_review(1, days=30)
    [kept] = decide(review, ada, keep_until=last_day)
    actor = person_actor(person=ada)
    clock.advance(seconds=2 * 86_400)
    [waiting] = progress.list_waiting_reviews(actor=actor)
    assert (waiting.to_decide, find_expired_keeps(actor)) == (1, [])
    close(review, edith, open_reason="The next one asks again.")
    assert find_expired_keeps(actor) == [kept]
    start(edith)
    assert find_expired_keeps(actor) == []


def test_what_only_hidden_credentials_list_is_shown_to_nobody_else(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    edith: Person,
    grace: Person,
    clock: SettableClock,
):
    review = make_review(1)
    [made] = decide(review, grace, keep_until=database_clock.now().date() + timedelta(days=1))
    clock.advance(seconds=2 * 86_400)
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    key = OrgConnectionKey(site=made.row.site, connection_id=made.row.connection_id)
    actors = [person_actor(person=Person.objects.get(pk=each.pk)) for each in (grace, ada)]
    assert [len(progress.list_waiting_reviews(actor=each)) for each in actors] == [1, 0]
    close(review, edith, open_reason="The next one asks again.")
    assert [len(find_expired_keeps(each)) for each in actors] == [1, 0]
    assert [len(progress.list_decisions(actor=each, key=key)) for each in actors] == [1, 0]


def test_open_access_reviews_wait_for_reviewers_with_something_to_decide(
    make_review: MakeReview, ada: Person, linus: Person, edith: Person, clock: SettableClock
):
    review = make_review(2, ada)
    assert (waiting(ada), waiting(linus), waiting(edith)) == ([(2, 2)], [], [(0, 2)])
    decide(review, ada)
    assert (waiting(ada), waiting(edith)) == ([], [(0, 0)])
    close(review, edith)
    assert waiting(edith) == []


def test_the_navigation_counts_what_has_to_be_decided_again_as_the_overview_does(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
):
    review = make_review(1)

    def counted() -> tuple[int, int]:
        cache.clear()
        page = client_of(ada).get("/orgs/").text
        found = re.search(r'id="count-access-review-list">(\d*)<', page)
        number = found[1] if found else ""
        return int(number or 0), len([each for each in waiting(ada) if each[0]])

    def sync_later() -> None:
        clock.advance(minutes=1)
        sync_now(payments)

    def change_types(*types: str) -> None:
        sandbox.world.change_connection(connection_id=connection_id, connection_types=types)
        sync_later()

    connection_id = texts_of(review)[0][-36:]
    before = review.rows.get().connection_types
    assert counted() == (1, 1)
    decide(review, ada)
    assert counted() == (0, 0)
    change_types("audit")
    assert counted() == (1, 1)
    change_types(*before)
    assert counted() == (0, 0)
    sandbox.world.disable_creator(connection_id=connection_id)
    sync_later()
    assert counted() == (1, 1)
    decide(review, ada)
    assert counted() == (0, 0)
    sandbox.world.enable_creator(connection_id=connection_id)
    sync_later()
    assert counted() == (1, 1)
    decide(review, ada, keep_until=database_clock.now().date() + timedelta(days=1))
    assert counted() == (0, 0)
    clock.advance(hours=48)
    # Also the line about the date that has passed.
    assert counted() == (2, 1)
