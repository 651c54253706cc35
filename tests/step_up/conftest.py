"""Browsers in which a person signed in more than five minutes ago."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from sandbox.server import SandboxServer
from tests.flows.support import Desk, store_credential
from tests.support.people import let_proof_age
from tests.support.sandbox import connection_between
from tests.test_access import addresses

__all__ = ["addresses"]


@pytest.fixture
def late_client_of(client_of: Callable[[Person], Client]) -> Callable[[Person], Client]:
    """A browser in which the person is signed in and would be asked who they are."""

    def make(person: Person) -> Client:
        client = client_of(person)
        let_proof_age(client)
        return client

    return make


@pytest.fixture
def late_desk(
    ada: Person, sandbox: SandboxServer, late_client_of: Callable[[Person], Client]
) -> Desk:
    """Ada, about to delete what Payments US shares with Group SOC, six minutes after signing in."""
    return Desk(
        client=late_client_of(ada),
        credential=store_credential(sandbox, "Payments US"),
        connection=connection_between(sandbox.world, "Payments US", "Group SOC"),
    )
