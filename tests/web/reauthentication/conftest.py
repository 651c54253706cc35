"""Browsers in which a person signed in more than five minutes ago."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.test import Client

from connections.access.actor import person_actor
from connections.inventory import protections
from connections.models import OrgConnectionKey, Person
from sandbox.server import SandboxServer
from tests.flows.support import Requester, store_credential
from tests.support.people import let_proof_age, make_person
from tests.support.sandbox import connection_between
from tests.web.test_access import addresses as plain_addresses

__all__ = ["plain_addresses"]


@pytest.fixture
def addresses(plain_addresses: dict[str, str]) -> dict[str, str]:
    """The URL of each name. A person outside the tests protects the connection."""
    url = plain_addresses["org-connection-unprotect"]
    _, site, connection_id, _ = url.strip("/").split("/")
    protections.protect_connection(
        actor=person_actor(person=make_person("keeper", is_administrator=True)),
        key=OrgConnectionKey(site=site, connection_id=UUID(connection_id)),
        reason="it must stay",
    )
    return plain_addresses


@pytest.fixture
def late_client_of(client_of: Callable[[Person], Client]) -> Callable[[Person], Client]:
    """A client in which the person is signed in and needs an identity check."""

    def make(person: Person) -> Client:
        client = client_of(person)
        let_proof_age(client)
        return client

    return make


@pytest.fixture
def late_requester(
    ada: Person, sandbox: SandboxServer, late_client_of: Callable[[Person], Client]
) -> Requester:
    """Ada, about to delete a connection of Payments US, six minutes after signing in."""
    return Requester(
        client=late_client_of(ada),
        credential=store_credential(sandbox, "Payments US"),
        connection=connection_between(sandbox.world, "Payments US", "Group SOC"),
    )
