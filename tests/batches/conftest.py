"""Credentials and plans for bulk deletions."""

from collections.abc import Callable

import pytest

from connections.batches import running
from connections.models import ApprovalPolicy, Batch, Credential, Person, Role
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, draft, sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person

MakeDraft = Callable[..., Batch]


@pytest.fixture(autouse=True)
def _unhurried_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one pass handle every due row, however busy the machine is."""
    monkeypatch.setattr(running, "PASS_SECONDS", 300.0)


@pytest.fixture
def barbara(db: None) -> Person:
    """A second Approver."""
    return make_person("barbara", Role.APPROVER)


@pytest.fixture
def payments(db: None, sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The verified credential of Payments US, synced once."""
    stored = store_credential(sandbox, "Payments US")
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def make_draft(ada: Person, payments: Credential, sandbox: SandboxServer) -> MakeDraft:
    """Ada plans the deletion of this many connections of Payments US, under this policy."""

    def make(count: int = 3, *, policy: ApprovalPolicy = ApprovalPolicy.NONE) -> Batch:
        Credential.objects.update(policy=policy)
        connections = add_connections(sandbox, count)
        sync_now(payments)
        return draft(ada, connections)

    return make
