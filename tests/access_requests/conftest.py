"""Access requests in each state, made through the services against the Datadog simulator."""

from collections.abc import Callable

import pytest

from connections.access.actor import WORKER, person_actor
from connections.inventory import syncs
from connections.models import AccessRequest, Credential, OrgPair, Person, RequestKind
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between

RequestAccess = Callable[..., AccessRequest]


@pytest.fixture
def credential(db: None, sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The verified credential of Payments US, synced once."""
    stored = store_credential(sandbox, "Payments US")
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def listed_pair(credential: Credential) -> OrgPair:
    """Payments US → Group SOC, which are connected."""
    snapshot = credential.snapshots.get(source_org_name="Payments US", sink_org_name="Group SOC")
    return OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)


@pytest.fixture
def free_pair(credential: Credential, listed_pair: OrgPair, sandbox: SandboxServer) -> OrgPair:
    """The same orgs, once their connection was deleted elsewhere."""
    found = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.remove_connection(connection_id=found.id)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    return listed_pair


@pytest.fixture
def create(ada: Person, free_pair: OrgPair, sandbox: SandboxServer) -> RequestAccess:
    """Ada requests logs of Payments US for Group SOC; `fault` is how Datadog responds."""

    def act(fault: Fault | None = None) -> AccessRequest:
        if fault:
            sandbox.world.set_fault(fault=fault, method="POST")
        return request_for(
            actor=person_actor(person=ada),
            pair=free_pair,
            wanted={"types": ["logs"], "owner_text": "SOC team", "purpose": "incident response"},
        )

    return act


@pytest.fixture
def change(ada: Person, listed_pair: OrgPair, sandbox: SandboxServer) -> RequestAccess:
    """Ada requests audit events too; `fault` is how Datadog responds."""

    def act(fault: Fault | None = None) -> AccessRequest:
        if fault:
            sandbox.world.set_fault(fault=fault, method="PATCH")
        return request_for(
            actor=person_actor(person=ada),
            pair=listed_pair,
            kind=RequestKind.CHANGE,
            wanted={
                "types": ["audit", "logs"],
                "owner_text": "SOC team",
                "purpose": "incident response",
            },
        )

    return act
