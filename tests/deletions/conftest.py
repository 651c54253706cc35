"""Deletions in each state, made through the services against the Datadog simulator."""

from collections.abc import Callable

import pytest

from connections.access.actor import person_actor
from connections.models import Credential, Deletion, Person
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import connection_between

RequestDeletion = Callable[..., Deletion]


@pytest.fixture
def credential(db: None, sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The verified credential of Payments US, synced once."""
    stored = store_credential(sandbox, "Payments US")
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def make_deletion(ada: Person, credential: Credential, sandbox: SandboxServer) -> RequestDeletion:
    """Ada deletes the connection from Payments US to Group SOC; `fault` is how Datadog responds."""
    wanted = connection_between(sandbox.world, "Payments US", "Group SOC").id

    def act(fault: Fault | None = None) -> Deletion:
        if fault:
            sandbox.world.set_fault(fault=fault, connection_id=wanted, method="DELETE")
        return request_deletion(
            actor=person_actor(person=ada), credential=credential, connection_id=wanted
        )

    return act
