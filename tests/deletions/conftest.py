"""Deletions in each state, made through the services against the Datadog simulator."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.inventory import syncs
from connections.models import Credential, Deletion, Person
from connections.operations import due
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import Page, read, store_credential
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


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Lets time pass, runs checks and syncs, and reads the pages."""

    clock: SettableClock
    client: Client
    credential: Credential

    def work_after(self, deletion: Deletion, *, seconds: float) -> Deletion:
        """The deletion after one pass of a worker."""
        self.clock.advance(seconds=seconds)
        due.run_due(actor=WORKER)
        deletion.refresh_from_db()
        return deletion

    def check_after(self, deletion: Deletion, *, seconds: float) -> Deletion:
        """The deletion after a check, whether or not one was due."""
        self.clock.advance(seconds=seconds)
        due.reconcile_all(actor=WORKER)
        deletion.refresh_from_db()
        return deletion

    def sync_after(self, deletion: Deletion, *, seconds: float) -> Deletion:
        """The deletion after another sync of its credential."""
        self.clock.advance(seconds=seconds)
        syncs.sync_credentials(credentials=[self.credential], actor=WORKER)
        deletion.refresh_from_db()
        return deletion

    def page(self, deletion: Deletion) -> Page:
        """The deletion's page."""
        return read(self.client.get(f"/deletions/{deletion.pk}/"))

    def is_on_overview(self, deletion: Deletion) -> bool:
        """Whether the overview's attention list links to it and says that it is contradicted."""
        panel = (
            self.client.get("/")
            .content.decode()
            .partition("Needs your attention")[2]
            .partition("Waiting on others")[0]
        )
        is_labeled = "Still listed" in panel or "Reappeared" in panel
        return f"/deletions/{deletion.pk}/" in panel and is_labeled


@pytest.fixture
def observer(
    clock: SettableClock,
    credential: Credential,
    ada: Person,
    client_of: Callable[[Person], Client],
) -> Observer:
    """An observer with Ada's browser and the credential of Payments US."""
    return Observer(clock=clock, client=client_of(ada), credential=credential)
