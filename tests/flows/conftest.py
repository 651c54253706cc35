"""People who are about to delete a connection."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from sandbox.server import SandboxServer
from tests.flows.support import Requester, store_credential
from tests.support.sandbox import connection_between


@pytest.fixture
def requester(
    ada: Person, sandbox: SandboxServer, client_of: Callable[[Person], Client]
) -> Requester:
    """Ada, ready to delete Payments US → Group SOC with Payments US's credential."""
    return Requester(
        client=client_of(ada),
        credential=store_credential(sandbox, "Payments US"),
        connection=connection_between(sandbox.world, "Payments US", "Group SOC"),
    )
