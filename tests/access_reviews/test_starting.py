"""Starting freezes what the scope matches, how complete it is, and who reviews."""

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from connections import audit
from connections.access.actor import command_actor, person_actor
from connections.access_reviews import closing, population
from connections.core import clock as database_clock
from connections.core.errors import InvalidInputError
from connections.inventory.filters import ConnectionFilters
from connections.models import (
    AccessKind,
    AccessReview,
    AuditEvent,
    Credential,
    CredentialAccess,
    EventCode,
    Person,
    with_values,
)
from connections.web.access_reviews import start as start_page
from sandbox.server import SandboxServer
from tests.access_reviews.conftest import MakeReview
from tests.batches.support import add_connections, sync_now
from tests.flows.support import read
from tests.support.people import make_person

pytestmark = pytest.mark.django_db


def start(person: Person, **values: object) -> AccessReview:
    given = {
        "name": "Q4",
        "scope": "",
        "due": database_clock.now().date(),
        "reviewers": [],
    } | values
    return population.start_review(actor=person_actor(person=person), **given)  # type: ignore[arg-type]


def test_the_start_freezes_the_rows_and_records_their_digest(
    make_review: MakeReview, payments: Credential, sandbox: SandboxServer, ada: Person
):
    review = make_review(3, ada)
    add_connections(sandbox, 1)
    sync_now(payments)
    rows = list(review.rows.all())
    assert [row.position for row in rows] == [1, 2, 3]
    event = AuditEvent.objects.get(code=EventCode.ACCESS_REVIEW_STARTED)
    assert event.subject_type == "access_review"
    digest = audit.digest_of_rows(map(audit.row_of, rows))
    assert event.details["rows"]["access_review_rows"] == digest
    assert event.details["rows"]["access_review"]["coverage"] == review.coverage
    assert event.details["reviewers"] == [str(ada.pk)]
    assert (review.due_at - review.created_at).days in {30, 31}
    assert (review.due_at.hour, review.due_at.minute, review.due_at.second) == (23, 59, 59)


def test_the_start_says_how_complete_each_org_was_and_which_have_no_credential(
    make_review: MakeReview,
):
    review = make_review(1)
    [org] = review.coverage["orgs"]
    assert (org["org_name"], org["is_complete"]) == ("Payments US", True)
    assert datetime.fromisoformat(org["synced_at"]).tzinfo == UTC
    assert "Partner 0" in {each["org_name"] for each in review.coverage["without_credential"]}


def test_a_connection_that_appears_later_is_listed_apart(
    make_review: MakeReview, payments: Credential, sandbox: SandboxServer, edith: Person
):
    review = make_review(1)
    [later] = add_connections(sandbox, 1)
    sync_now(payments)
    found = closing.appeared_since(review=review, actor=person_actor(person=edith))
    assert [f"{each['site']}/{each['connection_id']}" for each in found] == [later]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"scope": "colour=red"}, "scope"),
        ({"scope": "protected=perhaps"}, "scope"),
        ({"scope": "creator=unknown"}, "scope"),
        ({"scope": "q=x&" * 21}, "scope"),
        ({"scope": "q=nothing+matches+this"}, "scope"),
        ({"due": datetime(2020, 1, 1, tzinfo=UTC).date()}, "due"),
    ],
)
def test_input_is_checked(
    payments: Credential, edith: Person, values: dict[str, object], field: str
):
    with pytest.raises(InvalidInputError) as refused:
        start(edith, **values)
    assert list(refused.value.fields) == [field]
    assert not AccessReview.objects.exists()


def test_every_filter_has_a_name_on_the_page(
    payments: Credential, edith: Person, client_of: Callable[[Person], Client]
):
    chosen = {"protected": "yes", "creator": "disabled", "flag": "audit", "reviewed": "never"}
    chosen |= dict.fromkeys(("changed", "created", "agreed", "ends_within"), "")
    scope = urlencode(dict.fromkeys(ConnectionFilters.base_fields, "x") | chosen)
    page = client_of(edith).get("/reviews/new/", {"scope": scope}).text
    assert "Creator: Account disabled" in page
    assert "Destination: x" in page


def test_a_filter_by_time_is_refused(
    payments: Credential, edith: Person, client_of: Callable[[Person], Client]
):
    refusal = "limited by when connections were created, changed or reviewed"
    for scope in ("changed=7", "created=over-365", "reviewed=365", "agreed=no", "ends_within=7"):
        with pytest.raises(InvalidInputError, match=refusal):
            start(edith, scope=scope)
    assert refusal in client_of(edith).get("/reviews/new/", {"scope": scope}).text


def test_a_scope_keeps_only_filters(payments: Credential, edith: Person):
    assert start(edith, scope="?sort=-created&q=Payments&page=2").scope == "q=Payments"


def test_a_reviewer_must_be_able_to_decide(payments: Credential, edith: Person, margaret: Person):
    with pytest.raises(InvalidInputError) as refused:
        start(edith, reviewers=[margaret])
    assert list(refused.value.fields) == ["reviewers"]


def test_only_auditors_and_administrators_start_one(
    payments: Credential, ada: Person, linus: Person
):
    for person in (ada, linus):
        with pytest.raises(PermissionDenied):
            start(person)
    with pytest.raises(PermissionDenied):
        population.start_review(
            actor=command_actor(),
            name="Q4",
            scope="",
            due=database_clock.now().date(),
            reviewers=[],
        )
    start(make_person("root", is_administrator=True))


def test_rows_that_no_reviewer_can_see_are_named(
    make_review: MakeReview,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    edith: Person,
):
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    review = make_review(2, ada)
    [event] = with_values(AuditEvent.objects.filter(code=EventCode.ACCESS_REVIEW_STARTED))
    assert event.sentence.endswith(" No reviewer can decide on 2 of them. Reviewers: Ada.")
    assert event.details["without_reviewer"] == review.without_reviewer == 2
    assert len(population.find_without_reviewer(review=review)) == 2
    preview: Callable[..., population.PopulationPreview] = population.preview_population
    given = {"actor": person_actor(person=edith), "scope": "q=Partner"}
    assert len(preview(**given, reviewers=[ada]).without_reviewer) == 2
    assert preview(**given, reviewers=[ada, grace]).without_reviewer == []
    assert preview(**given, reviewers=[]).without_reviewer == []  # Edith sees everything.


def test_pages_list_every_row_that_no_reviewer_can_decide_on(
    make_review: MakeReview,
    payments: Credential,
    ada: Person,
    grace: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
    monkeypatch: pytest.MonkeyPatch,
):
    CredentialAccess.objects.create(credential=payments, person=grace, kind=AccessKind.SEE)
    review = make_review(7, ada)
    client = client_of(edith)
    checked = {"scope": "q=Partner", "reviewers": ["ada"], "check": "1"}
    page = client.post("/reviews/new/", checked, headers={"HX-Request": "true"}).text
    assert page.count("<li>Payments US → Partner") == 7
    monkeypatch.setattr(start_page, "MAX_LISTED", 6)
    page = client.post("/reviews/new/", checked, headers={"HX-Request": "true"}).text
    assert page.count("<li>Payments US → Partner") == 6
    assert "The first 6 of 7. Once the access review has started, its page lists them all." in page
    page = client.get(f"/reviews/{review.pk}/").text
    assert f"/reviews/{review.pk}/?show=no-reviewer" in page
    page = client.get(f"/reviews/{review.pk}/?show=no-reviewer").text
    assert page.count('<tr id="row-') == 7
    assert "no-reviewer" not in client_of(grace).get(f"/reviews/{review.pk}/").text


def test_events_link_to_the_access_review(
    make_review: MakeReview, edith: Person, client_of: Callable[[Person], Client]
):
    review = make_review(1)
    event = AuditEvent.objects.get(code=EventCode.ACCESS_REVIEW_STARTED)
    page = read(client_of(edith).get(f"/audit/{event.seq}/"))
    assert page.link("View access review") == f"/reviews/{review.pk}/"
