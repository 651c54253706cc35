"""From one thing that needs a person to the next: after a decision, and with the address of N."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.access.actor import person_actor
from connections.models import ApprovalPolicy, Credential, Deletion, Person
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, sync_now
from tests.flows.support import Page, read, store_credential
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion

ClientOf = Callable[[Person], Client]


@pytest.fixture
def requested(
    db: None, sandbox: SandboxServer, clock: SettableClock, ada: Person
) -> list[Deletion]:
    """Three deletions that one approver has to approve, the oldest first."""
    credential = store_credential(sandbox, "Payments US")
    keys = add_connections(sandbox, 3)
    sync_now(credential)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    deletions = []
    for key in keys:
        clock.advance(seconds=60)
        deletions.append(
            request_deletion(
                actor=person_actor(person=ada),
                credential=credential,
                connection_id=key.rpartition("/")[2],
            )
        )
    return deletions


def decide(client: Client, deletion: Deletion, act: str) -> Page:
    form = read(client.get(f"/deletions/{deletion.pk}/")).form_to(f"/{act}/")
    values = form.fields | ({"reason": "Still needed."} if act == "decline" else {})
    return read(client.post(form.action, values, follow=True))


def test_an_approver_goes_from_one_decision_to_the_next(
    requested: list[Deletion], linus: Person, client_of: ClientOf
):
    first, second, third = requested
    client = client_of(linus)
    assert "Next:" not in read(client.get(f"/deletions/{first.pk}/")).text

    page = decide(client, first, "approve")
    assert page.link("Next: 2 more") == f"/deletions/{second.pk}/"

    page = decide(client, second, "decline")
    assert page.link("Next: 1 more") == f"/deletions/{third.pk}/"

    assert "Next:" not in decide(client, third, "approve").text


def test_only_the_approver_who_decided_is_led_on(
    requested: list[Deletion], linus: Person, grace: Person, ada: Person, client_of: ClientOf
):
    decide(client_of(linus), requested[0], "approve")
    for person in (ada, grace):
        assert "Next:" not in client_of(person).get(f"/deletions/{requested[0].pk}/").text


def test_next_leads_through_all_that_needs_the_person_and_then_to_the_overview(
    requested: list[Deletion], linus: Person, client_of: ClientOf
):
    client = client_of(linus)
    here, visited = "/connections/?q=partner", []
    for _ in range(5):
        here = client.get("/next/", headers={"referer": f"https://testserver{here}"})["Location"]
        visited.append(here)
    pages = [f"/deletions/{deletion.pk}/" for deletion in requested]
    assert visited == [*pages, "/", pages[0]]


def test_next_leads_to_the_overview_where_nothing_needs_the_person(
    ada: Person, client_of: ClientOf
):
    assert client_of(ada).get("/next/")["Location"] == "/"
