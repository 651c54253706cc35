"""The overview before the first agreement."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from connections.access.actor import WORKER
from connections.models import Credential, OrgPair, Person
from sandbox.server import SandboxServer
from tests.agreements.support import agree, pair_between
from tests.flows.support import read, store_credential
from tests.support.sandbox import org_named

ClientOf = Callable[[Person], Client]
APPROVER = "Invite an approver"
ORGS, AGREE, EMAIL = "Add the other orgs", "Say who answers for each connection", "Turn on email"


@pytest.fixture
def labs(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Labs EU")


@pytest.fixture
def steps_of(labs: Credential, client_of: ClientOf) -> Callable[[Person], list[str]]:
    """The steps on a person's overview, each with a page that opens."""

    def steps(person: Person) -> list[str]:
        client = client_of(person)
        first = client.get("/").context["first_steps"]
        assert all(client.get(step.url).status_code == 200 for step in first.steps)
        return [step.label for step in first.steps]

    return steps


@pytest.fixture
def pair(labs: Credential, sandbox: SandboxServer) -> OrgPair:
    return pair_between(sandbox, "Labs EU", "Data Lake EU")


def text_for(person: Person, client_of: ClientOf) -> str:
    return read(client_of(person).get("/")).text


def test_it_says_what_is_there_and_names_the_orgs_without_a_credential(
    client_of: ClientOf, victor: Person, labs: Credential
):
    text = text_for(victor, client_of)
    assert "1 connection of 1 org. 1 more org has no credential Data Lake EU" in text
    assert "agreed" not in text


def test_without_connections_it_says_so(
    client_of: ClientOf, victor: Person, sandbox: SandboxServer
):
    [connection] = sandbox.world.connections(org=org_named(sandbox.world, "Labs EU"))
    sandbox.world.remove_connection(connection_id=connection.id)
    store_credential(sandbox, "Labs EU")
    assert "No connections of 1 org." in text_for(victor, client_of)


def test_an_administrator_starts_with_four_steps(
    steps_of: Callable[[Person], list[str]], root: Person
):
    assert steps_of(root) == [ORGS, APPROVER, AGREE, EMAIL]


def test_others_get_the_steps_that_they_can_do(
    steps_of: Callable[[Person], list[str]], ada: Person, margaret: Person, victor: Person
):
    assert [steps_of(person) for person in (ada, margaret, victor)] == [[AGREE], [ORGS], []]


def test_a_step_leaves_when_it_is_done(
    steps_of: Callable[[Person], list[str]],
    root: Person,
    linus: Person,
    settings: Settings,
    sandbox: SandboxServer,
):
    assert steps_of(root) == [ORGS, AGREE, EMAIL]
    settings.HAS_MAIL = True
    assert steps_of(root) == [ORGS, AGREE]
    sandbox.world.add_key_pair(org=org_named(sandbox.world, "Data Lake EU"))
    store_credential(sandbox, "Data Lake EU")
    assert steps_of(root) == [AGREE]


def test_after_the_first_agreement_it_counts_what_is_agreed(
    client_of: ClientOf, root: Person, pair: OrgPair
):
    agree(pair, actor=WORKER, owner=root)
    text = text_for(root, client_of)
    assert "connection agreed" in text
    assert APPROVER not in text
