"""A requester sees who was notified of a request that waits for approval."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from connections.access.actor import person_actor
from connections.access_requests.requesting import WantedTerms
from connections.core import clock
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Credential,
    CredentialAccess,
    Deletion,
    Notification,
    OrgPair,
    Person,
    Role,
)
from connections.notifications.notified import find_waiting_note
from tests.access_requests.conftest import credential, free_pair, listed_pair
from tests.batches.conftest import MakeDraft, make_draft, payments
from tests.batches.support import request as request_plan
from tests.deletions.approvals.conftest import guarded, polled, request_deletion, requested, wanted
from tests.flows.support import Page, read
from tests.support.access_requests import request_for
from tests.support.people import make_person

# Fixtures of other directories.
__all__ = ["credential", "free_pair", "guarded", "listed_pair", "make_draft", "payments"]
__all__ += ["request_deletion", "requested", "wanted"]

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]
NO_EMAIL = "No one was notified: email is off. Expires"
NO_ONE = " No one else can approve this. Ask an administrator to add an Approver."
State = Notification.State


@pytest.fixture
def approvers(linus: Person, settings: Settings) -> list[Person]:
    """Five people who can approve, with email."""
    settings.HAS_MAIL = True
    settings.BASE_URL = "https://orgadmin.example.org"
    names = ("barbara", "dennis", "ken", "rob")
    return [*(make_person(name, Role.APPROVER) for name in names), linus]


def text_for(deletion: Deletion, person: Person) -> str:
    note = find_waiting_note(deletion, actor=person_actor(person=person), now=clock.now())
    assert note
    return note.text


def opened(client: Client, subject: Deletion) -> Page:
    return read(client.get(f"/deletions/{subject.pk}/"))


def test_it_says_who_was_notified_who_was_not_yet_and_who_could_not_be(
    approvers: list[Person], settings: Settings, request: pytest.FixtureRequest, ada: Person
):
    settings.SLACK_URL = "https://hooks.slack.com/services/T/B/x"
    deletion = request.getfixturevalue("requested")
    rows = Notification.objects.filter(code="deletion.requested")
    rows.update(state=State.DELIVERED, due_at=None)
    rows.filter(person__username="rob").update(state=State.WAITING)
    rows.filter(person__username="ken").update(state=State.GIVEN_UP)
    assert text_for(deletion, ada) == (
        "Barbara, Dennis, Linus and Slack were notified. Not notified yet: Rob. "
        "Couldn't be notified: Ken."
    )


def test_it_names_three_people_and_counts_the_others(
    approvers: list[Person], request: pytest.FixtureRequest, ada: Person
):
    deletion = request.getfixturevalue("requested")
    Notification.objects.update(state=State.DELIVERED)
    assert text_for(deletion, ada) == "Barbara, Dennis, Ken and 2 others were notified by email."


def test_someone_who_can_no_longer_approve_is_counted_without_a_name(
    approvers: list[Person], request: pytest.FixtureRequest, ada: Person
):
    deletion = request.getfixturevalue("requested")
    Notification.objects.update(state=State.DELIVERED)
    CredentialAccess.objects.create(
        credential=deletion.credential, person=approvers[3], kind=AccessKind.APPROVE
    )
    assert text_for(deletion, ada) == "Rob and 4 others were notified by email."


def test_only_the_requester_sees_who_was_notified(
    approvers: list[Person], request: pytest.FixtureRequest, edith: Person, client_of: ClientOf
):
    deletion = request.getfixturevalue("requested")
    assert text_for(deletion, edith) == ""
    assert "Expires" in opened(client_of(edith), deletion).text


def test_without_email_the_page_of_a_deletion_has_the_link_to_send(
    requested: Deletion, ada: Person, linus: Person, client_of: ClientOf, settings: Settings
):
    settings.BASE_URL = "https://orgadmin.example.org"
    page = opened(client_of(ada), requested)
    assert NO_EMAIL in page.text
    assert f'data-copy="https://orgadmin.example.org/deletions/{requested.pk}/"' in page.html


def test_the_page_of_an_access_request_says_it_too(
    free_pair: OrgPair, ada: Person, linus: Person, client_of: ClientOf
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    terms: WantedTerms = {"types": ["logs"], "owner_text": "SOC", "purpose": "incident response"}
    asked = request_for(actor=person_actor(person=ada), pair=free_pair, wanted=terms)
    assert NO_EMAIL in read(client_of(ada).get(f"/access-requests/{asked.pk}/")).text


def test_the_page_of_a_bulk_deletion_says_it_and_those_of_its_deletions_do_not(
    payments: Credential,
    make_draft: MakeDraft,
    ada: Person,
    linus: Person,
    client_of: ClientOf,
):
    batch = request_plan(make_draft(policy=ApprovalPolicy.ONE), ada)
    client = client_of(ada)
    assert NO_EMAIL in read(client.get(f"/deletions/batches/{batch.pk}/")).text
    assert "notified" not in opened(client, batch.deletions.earliest("pk")).text


@pytest.mark.parametrize("noun", ["deletion", "access request", "bulk deletion"])
def test_no_link_is_offered_for_what_no_one_can_approve(
    noun: str, ada: Person, client_of: ClientOf, request: pytest.FixtureRequest
):
    if noun == "deletion":
        url = f"/deletions/{request.getfixturevalue('requested').pk}/"
    elif noun == "access request":
        pair = request.getfixturevalue("free_pair")
        Credential.objects.update(policy=ApprovalPolicy.ONE)
        terms: WantedTerms = {"types": ["logs"], "owner_text": "SOC", "purpose": "incidents"}
        asked = request_for(actor=person_actor(person=ada), pair=pair, wanted=terms)
        url = f"/access-requests/{asked.pk}/"
    else:
        plan = request.getfixturevalue("make_draft")(policy=ApprovalPolicy.ONE)
        url = f"/deletions/batches/{request_plan(plan, ada).pk}/"
    text = read(client_of(ada).get(url)).text
    assert NO_EMAIL in text.replace(NO_ONE, "")
    assert text.count(NO_ONE.strip()) == 1
    assert "someone who can approve it" not in text


def test_the_page_polls_until_the_email_is_delivered(
    approvers: list[Person], request: pytest.FixtureRequest, ada: Person, client_of: ClientOf
):
    client, deletion = client_of(ada), request.getfixturevalue("requested")
    page = opened(client, deletion)
    assert polled(client, page).status == 204
    Notification.objects.update(state=State.DELIVERED)
    assert "Ken and 2 others were notified by email" in polled(client, page).text


def test_more_recipients_take_no_more_statements(
    approvers: list[Person], request: pytest.FixtureRequest, ada: Person, client_of: ClientOf
):
    client, deletion = client_of(ada), request.getfixturevalue("requested")
    counted = []
    for _ in range(2):
        opened(client, deletion)
        with CaptureQueriesContext(connection) as captured:
            opened(client, deletion)
        counted.append(len(captured))
        Notification.objects.exclude(person=approvers[0]).delete()
    assert counted[0] == counted[1]
