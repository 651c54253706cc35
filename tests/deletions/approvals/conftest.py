"""Deletions that need other people, in each state."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.access.actor import command_actor, person_actor
from connections.change_requests import approvals, lifecycle
from connections.core import tabular
from connections.deletions.export import deletion_row, prepare_export
from connections.deletions.history import HistoryFilter
from connections.models import ApprovalPolicy, Credential, Deletion, Person, Role
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.flows.support import HTMX, Page, read, store_credential
from tests.support import deletions
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.sandbox import connection_between
from tests.web.reauthentication.conftest import late_client_of

# A fixture of another directory.
__all__ = ["late_client_of"]

RequestFor = Callable[..., Deletion]
DECLINED = "Ask the partner first."


@pytest.fixture
def barbara(db: None) -> Person:
    """A second Approver."""
    return make_person("barbara", Role.APPROVER)


@pytest.fixture
def wanted(sandbox: SandboxServer) -> Connection:
    """The connection from Payments US to Group SOC."""
    return connection_between(sandbox.world, "Payments US", "Group SOC")


@pytest.fixture
def guarded(db: None, sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The credential of Payments US, whose policy requires one approval."""
    stored = store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE)
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def request_deletion(ada: Person, guarded: Credential, wanted: Connection) -> RequestFor:
    """Ada requests the deletion under the given policy."""

    def act(policy: ApprovalPolicy = ApprovalPolicy.ONE, *, person: Person = ada) -> Deletion:
        Credential.objects.update(policy=policy)
        guarded.refresh_from_db()
        return deletions.request_deletion(
            actor=person_actor(person=person),
            credential=guarded,
            connection_id=wanted.id,
            ticket="SEC-212",
        )

    return act


@pytest.fixture
def requested(request_deletion: RequestFor) -> Deletion:
    """Requested by Ada under policy one; no decision yet."""
    return request_deletion()


def approve(deletion: Deletion, person: Person) -> Deletion:
    """The person approves the deletion."""
    return approvals.approve(
        change_request=deletion,
        actor=person_actor(person=person),
        digest=deletion.approval_digest,
        approval_round=deletion.approval_round,
    )


def decline(deletion: Deletion, person: Person) -> Deletion:
    """The person declines it."""
    return approvals.decline(
        change_request=deletion, actor=person_actor(person=person), reason=DECLINED
    )


def confirm(deletion: Deletion, person: Person) -> Deletion:
    """The person types the confirmation."""
    return lifecycle.execute(
        change_request=deletion, actor=person_actor(person=person), confirmation="Payments US"
    )


def polled(client: Client, page: Page) -> Page:
    """What the page gets when it polls."""
    return read(client.get(page.watch["hx-get"], headers=HTMX | {"HX-Target": "outcome"}))


def exported_row() -> tabular.Row:
    """The only row of an export of all deletions. The row of the deletion itself is the same."""
    export = prepare_export(
        actor=command_actor(), filters=HistoryFilter(), file_format="ndjson", query=""
    )
    [row] = map(export.columns.row, export.items())
    assert row == deletion_row(Deletion.objects.get())
    return row
