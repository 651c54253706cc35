"""In an access review by owners, the owner of a connection alone decides on it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.test import Client
from pytest_django import Settings

from connections.access.actor import WORKER, person_actor
from connections.access.visibility import hidden_from
from connections.access_reviews import reminders
from connections.access_reviews.progress import list_reviewer_progress
from connections.access_reviews.reviewers import change_reviewers
from connections.agreements.setting import set_agreements
from connections.core.errors import InvalidInputError
from connections.evidence import verification
from connections.models import (
    AccessKind,
    AccessReview,
    AccessReviewDecision,
    AuditEvent,
    Credential,
    CredentialAccess,
    EventCode,
    Notification,
    Org,
    OrgPair,
    Person,
    Role,
)
from sandbox.server import SandboxServer
from tests.access_reviews.support import count_to_decide, decide, rows_of, start
from tests.batches.support import add_connections, sync_now
from tests.support.clock import SettableClock
from tests.support.people import make_person

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def review(
    payments: Credential, sandbox: SandboxServer, ada: Person, grace: Person, edith: Person
) -> AccessReview:
    """By owners. Ada owns the first of three connections, Grace the source org."""
    [first, *_] = add_connections(sandbox, 3)
    sync_now(payments)
    Org.objects.filter(org_id=payments.org_id).update(owner=grace)
    listed = payments.snapshots.get(connection_id=first.partition("/")[2])
    own_pair(OrgPair(listed.site, listed.source_org_id, listed.sink_org_id), ada)
    return start(edith, scope="q=Partner", by_owners=True)


@pytest.fixture
def earlier(review: AccessReview) -> AccessReview:
    """The same as release 1.1.0 starts it: who decides is computed at every use."""
    AccessReview.objects.update(has_fixed_owners=None)
    review.refresh_from_db()
    return review


def own(review: AccessReview, index: int, owner: Person) -> None:
    """Make the person the owner of the agreement of a row's orgs."""
    row = review.rows.all()[index]
    own_pair(OrgPair(row.site, row.source_org_id, row.sink_org_id), owner)


def own_pair(pair: OrgPair, owner: Person) -> None:
    """Make the person the owner of these orgs' agreement."""
    terms = {"owner": owner, "owner_text": "", "purpose": "Claims dashboards"}
    set_agreements(actor=WORKER, pairs=[pair], terms=terms)  # type: ignore[arg-type]


def decidable(review: AccessReview, person: Person) -> list[int]:
    """The positions of the rows that the person can decide on, which they can also save."""
    person = Person.objects.get(pk=person.pk)
    for row in rows_of(review, person):
        if not row.is_decidable:
            with pytest.raises(PermissionDenied):
                decide(review, person, row.key.reference)
    return [row.position for row in rows_of(review, person) if row.is_decidable]


def test_an_agreements_owner_comes_before_the_source_orgs(
    review: AccessReview, ada: Person, grace: Person, edith: Person
):
    assert (decidable(review, ada), decidable(review, grace)) == ([1], [2, 3])
    assert decidable(review, edith) == []
    keys = [row.key.reference for row in review.rows.all()]
    with pytest.raises(PermissionDenied):
        decide(review, ada, *keys)
    decide(review, grace, *keys[1:])
    decide(review, ada, keys[0])
    assert [row.state for row in rows_of(review, edith)] == ["keep"] * 3
    assert verification.verify_audit_log().fault is None


def test_who_decides_is_fixed_when_it_starts(
    review: AccessReview, ada: Person, linus: Person, grace: Person, edith: Person
):
    own(review, 0, linus)
    Org.objects.update(owner=linus)
    assert (decidable(review, ada), decidable(review, grace)) == ([1], [2, 3])
    assert decidable(review, linus) == []
    decide(review, ada, review.rows.all()[0].key.reference)
    assert AccessReviewDecision.objects.get().owner == ada


def test_everyone_decides_in_place_of_an_owner_who_cannot_any_more(
    review: AccessReview, payments: Credential, ada: Person, grace: Person, edith: Person
):
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    CredentialAccess.objects.create(credential=payments, person=edith, kind=AccessKind.SEE)
    assert decidable(review, edith) == [1, 2, 3]
    decide(review, edith, *(row.key.reference for row in review.rows.all()[:2]))
    made = AccessReviewDecision.objects.order_by("row__position")
    assert [(each.owner, each.decided_by) for each in made] == [(ada, edith), (grace, edith)]
    assert verification.verify_audit_log().fault is None


def test_an_auditor_names_someone_else(
    review: AccessReview,
    ada: Person,
    linus: Person,
    edith: Person,
    victor: Person,
    client_of: Callable[[Person], Client],
):
    keys = [row.key.reference for row in review.rows.all()[:2]]
    client, url = client_of(edith), f"/reviews/{review.pk}/owner/"
    assert client_of(ada).post(url, {"connection": keys, "owner": "ada"}).status_code == 403
    Person.objects.filter(pk=victor.pk).update(is_active=False)
    for wrong in ({"connection": keys, "owner": "victor"}, {"connection": [], "owner": "linus"}):
        assert client.post(url, wrong).status_code == 422
    assert (
        "Who decides on the connections listed above" in client.get(f"/reviews/{review.pk}/").text
    )
    assert client.post(url, {"connection": keys, "owner": "linus"}).status_code == 303
    assert (decidable(review, linus), decidable(review, ada)) == ([1, 2], [])
    event = AuditEvent.objects.get(code=EventCode.ACCESS_REVIEW_OWNER_CHANGED)
    assert (event.details["owners"], event.details["positions"]) == ([str(linus.pk)], [1, 2])
    decide(review, linus, *keys)
    assert verification.verify_audit_log().fault is None


def test_the_database_keeps_who_decided_for_whom(review: AccessReview, ada: Person):
    decide(review, ada, review.rows.all()[0].key.reference)
    with pytest.raises(IntegrityError, match="can't be changed"), transaction.atomic():
        AccessReviewDecision.objects.update(owner=None)


def test_everyone_decides_on_what_has_no_owner_who_can(
    earlier: AccessReview, payments: Credential, ada: Person, grace: Person, edith: Person
):
    review = earlier
    own(review, 1, ada)
    assert decidable(review, ada) == [1, 2]
    grace.groups.clear()
    assert (decidable(review, ada), decidable(review, edith)) == ([1, 2, 3], [3])
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    assert decidable(review, edith) == [1, 2, 3]
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    assert decidable(review, edith) == [1, 2, 3]


def test_an_owner_who_cannot_see_it_is_passed_over_for_the_orgs(
    earlier: AccessReview, payments: Credential, ada: Person, grace: Person
):
    review = earlier
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    assert decidable(review, grace) == [1, 2, 3]
    CredentialAccess.objects.create(credential=payments, person=ada, kind=AccessKind.SEE)
    assert (decidable(review, grace), decidable(review, ada)) == ([2, 3], [1])


def test_what_is_hidden_from_many_people_is_what_is_hidden_from_each(
    payments: Credential, ada: Person, grace: Person, linus: Person, edith: Person, margaret: Person
):
    people = [ada, grace, linus, edith, margaret, make_person("root", is_administrator=True)]
    entries = [
        {"kind": "use", "group": grace.groups.get()},
        {"kind": "see", "person": linus},
    ]
    for entry in entries:
        CredentialAccess.objects.create(credential=payments, **entry)
        fresh = [Person.objects.get(pk=person.pk) for person in people]
        assert hidden_from(people) == {each.pk: each.visibility.hidden for each in fresh}
    hidden = {pk for pk, credentials in hidden_from(people).items() if credentials}
    assert hidden == {margaret.pk}


def test_counts_and_reminders_are_of_the_own_rows(
    review: AccessReview,
    ada: Person,
    grace: Person,
    edith: Person,
    settings: Settings,
    clock: SettableClock,
):
    progress = list_reviewer_progress(review=review, rows=rows_of(review, edith))
    assert [(each.name, each.pending) for each in progress] == [("Ada", 1), ("Grace", 2)]
    assert [count_to_decide(person) for person in (ada, grace, edith)] == [1, 1, 0]
    settings.HAS_MAIL = True
    decide(review, ada, *(row.key.reference for row in rows_of(review, ada) if row.is_decidable))
    clock.advance(seconds=timedelta(days=25).total_seconds())
    reminders.send_due(actor=WORKER)
    assert Notification.objects.get(code=EventCode.ACCESS_REVIEW_REMINDED).person == grace


def test_only_owners_are_told_of_its_start(
    review: AccessReview, edith: Person, grace: Person, settings: Settings
):
    settings.HAS_MAIL = True
    make_person("barbara", Role.OPERATOR)
    again = start(edith, scope="q=Partner", by_owners=True)
    notified = Notification.objects.filter(code=EventCode.ACCESS_REVIEW_STARTED)
    assert {each.person and each.person.username for each in notified} == {"ada", "grace"}
    [*_, event] = AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_STARTED).order_by("seq")
    assert again.assignment == "owners"
    assert event.details["reviewers"] == []
    assert verification.verify_audit_log().fault is None


def test_named_reviewers_replace_the_owners(review: AccessReview, ada: Person, edith: Person):
    change_reviewers(review=review, actor=person_actor(person=edith), reviewers=[ada])
    review.refresh_from_db()
    assert (review.assignment, decidable(review, ada)) == ("", [1, 2, 3])
    assert verification.verify_audit_log().fault is None


def test_owners_are_not_combined_with_people(payments: Credential, ada: Person, edith: Person):
    with pytest.raises(InvalidInputError) as caught:
        start(edith, ada, by_owners=True)
    assert caught.value.fields.keys() == {"reviewers"}


def test_the_page_names_the_owner_and_offers_each_their_own(
    review: AccessReview, ada: Person, edith: Person, client_of: Callable[[Person], Client]
):
    posted = {"name": "Q1", "due": "2099-01-31", "scope": "q=Partner", "reviewers": "owners"}
    url = client_of(edith).post("/reviews/new/", posted).headers["Location"]
    page = client_of(ada).get(url).text
    assert page.count("Grace decides as the owner.") == 2
    assert page.count("decide-keep") == 1
    assert "the owner of each connection, or else every Operator" in page
    assert '<span>Ada</span><span class="cell-sub clamp" title="Claims dashboards">' in page
    assert client_of(edith).get(url).text.count("No agreement</span>") == 2
    assert client_of(ada).get(url, {"show": "yours"}).text.count("data-connection=") == 1


# --- Owners who can't be reviewers ----------------------------------------------------------------


@pytest.fixture
def of_viewer(
    payments: Credential, sandbox: SandboxServer, victor: Person, edith: Person
) -> AccessReview:
    """By owners. Victor, a Viewer, owns the first of two connections, and nobody the second."""
    [first, _] = add_connections(sandbox, 2)
    sync_now(payments)
    listed = payments.snapshots.get(connection_id=first.partition("/")[2])
    own_pair(OrgPair(listed.site, listed.source_org_id, listed.sink_org_id), victor)
    return start(edith, scope="q=Partner", by_owners=True)


def test_an_owner_with_any_role_decides_on_their_own_connections_alone(
    of_viewer: AccessReview, victor: Person, ada: Person, margaret: Person
):
    assert (decidable(of_viewer, victor), decidable(of_viewer, ada)) == ([1], [2])
    assert decidable(of_viewer, margaret) == []
    keys = [row.key.reference for row in of_viewer.rows.all()]
    with pytest.raises(PermissionDenied):
        decide(of_viewer, victor, *keys)
    assert (count_to_decide(victor), count_to_decide(ada)) == (1, 1)
    decide(of_viewer, victor, keys[0])
    assert AccessReviewDecision.objects.get().decided_by == victor
    assert count_to_decide(victor) == 0
    assert verification.verify_audit_log().fault is None


def test_an_owner_without_a_role_decides_nothing_and_everyone_else_does(
    of_viewer: AccessReview, victor: Person, ada: Person
):
    victor.groups.clear()
    key = of_viewer.rows.all()[0].key.reference
    with pytest.raises(PermissionDenied):
        decide(of_viewer, Person.objects.get(pk=victor.pk), key)
    assert decidable(of_viewer, ada) == [1, 2]


def test_an_owner_with_any_role_reads_of_it_and_is_counted(
    of_viewer: AccessReview,
    victor: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
    clock: SettableClock,
):
    client = client_of(victor)
    assert "1 connection for you to decide" in client.get("/").text
    page = client.get(f"/reviews/{of_viewer.pk}/").text
    assert page.count('type="checkbox" name="connection"') == 1
    assert "None decides" not in page
    progress = list_reviewer_progress(review=of_viewer, rows=rows_of(of_viewer, edith))
    assert {each.name: (each.can_decide, each.pending) for each in progress} == {
        "Victor": (True, 1)
    }


def test_where_mfa_is_required_a_viewer_needs_it_to_decide(
    of_viewer: AccessReview,
    victor: Person,
    client_of: Callable[[Person], Client],
    settings: Settings,
):
    settings.REQUIRE_MFA = True
    key = of_viewer.rows.all()[0].key.reference
    typed = {"connection": key, "decision": "keep", "reason": "Needed"}
    response = client_of(victor).post(f"/reviews/{of_viewer.pk}/decide/", typed)
    assert response["Location"] == "/accounts/2fa/"
    assert not AccessReviewDecision.objects.exists()
    settings.REQUIRE_MFA = False
    assert client_of(victor).post(f"/reviews/{of_viewer.pk}/decide/", typed).status_code == 303
    assert AccessReviewDecision.objects.get().decided_by == victor


def test_once_reviewers_are_named_owners_without_their_role_decide_no_more(
    of_viewer: AccessReview, victor: Person, ada: Person, edith: Person
):
    change_reviewers(review=of_viewer, actor=person_actor(person=edith), reviewers=[ada])
    of_viewer.refresh_from_db()
    assert decidable(of_viewer, victor) == []
    assert decidable(of_viewer, ada) == [1, 2]
