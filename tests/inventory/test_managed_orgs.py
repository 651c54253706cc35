"""The list of managed orgs is read at verification and once a day.

A failure has no other effect.
"""

from datetime import timedelta

import pytest

from connections.access.actor import command_actor, person_actor
from connections.core import clock
from connections.inventory.managed_orgs import read_due_managed_orgs
from connections.inventory.orgs import OrgCoverage, list_known_orgs, list_orgs
from connections.models import AccessKind, Credential, CredentialAccess, Org, Person
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.credentials.support import added
from tests.flows.support import store_credential
from tests.support.sandbox import US, org_named


@pytest.fixture
def parent(sandbox: SandboxServer, db: None) -> SandboxServer:
    """A world in which Group SOC manages Payments US and an org without a connection."""
    world = sandbox.world
    soc = org_named(world, "Group SOC")
    world.set_parent(org=org_named(world, "Payments US"), parent=soc)
    world.set_parent(org=world.add_org(name="Acquired", site=US), parent=soc)
    return sandbox


def managed_by(credential: Credential) -> list[str]:
    """The names in the stored list."""
    return sorted(credential.managed_orgs.values_list("name", flat=True))


def requests_for_lists(sandbox: SandboxServer) -> int:
    return len(sandbox.world.requests(path="/api/v2/org"))


def make_due() -> None:
    """As if the lists had been read more than a day ago."""
    Credential.objects.update(managed_orgs_read_at=clock.now() - timedelta(hours=25))


@pytest.mark.database
def test_verifying_a_parent_orgs_credential_finds_orgs_without_a_connection(parent: SandboxServer):
    credential = added(parent, "Group SOC")
    assert managed_by(credential) == ["Acquired", "Group SOC", "Payments US"]
    [acquired] = [org for org in list_orgs(actor=command_actor()) if org.org.name == "Acquired"]
    assert acquired.coverage is OrgCoverage.NO_CREDENTIAL
    assert (acquired.connections_in, acquired.connections_out) == (0, 0)


def test_orgs_that_only_a_hidden_credential_manages_are_not_named(
    parent: SandboxServer, ada: Person, victor: Person
):
    credential = added(parent, "Group SOC")
    CredentialAccess.objects.create(credential=credential, kind=AccessKind.SEE, person=ada)
    assert "Acquired" in {org.name for org in list_known_orgs(actor=person_actor(person=ada))}
    assert list_known_orgs(actor=person_actor(person=victor)) == []


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (faults.RETURNS_403, "forbidden"),
        (faults.RETURNS_500, "server_error"),
        (faults.TRUNCATED_JSON, "malformed_json"),
        (faults.RESET_AFTER_READING, "connection_lost"),
        (faults.ANOTHER_ORG, "another_org"),
        (faults.rate_limited(), "rate_limited"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else value,
)
def test_a_failure_fails_no_verification_and_is_stored(
    parent: SandboxServer, fault: Fault, cause: str
):
    parent.world.set_fault(fault=fault, operation="managed_orgs")
    credential = added(parent, "Group SOC")
    credential.refresh_from_db()
    assert credential.is_verified
    assert credential.last_error is None
    assert (credential.managed_orgs_error or {})["cause"] == cause
    assert credential.managed_orgs_read_at is not None
    assert managed_by(credential) == []


def test_a_failure_keeps_the_earlier_list(parent: SandboxServer):
    credential = added(parent, "Group SOC")
    parent.world.set_fault(fault=faults.RETURNS_403, operation="managed_orgs")
    make_due()
    assert read_due_managed_orgs() == 1
    credential.refresh_from_db()
    assert (credential.managed_orgs_error or {})["cause"] == "forbidden"
    assert "Acquired" in managed_by(credential)


@pytest.mark.database
def test_each_list_is_read_once_a_day(parent: SandboxServer):
    credential = store_credential(parent, "Group SOC")
    assert (read_due_managed_orgs(), read_due_managed_orgs()) == (1, 0)
    assert requests_for_lists(parent) == 1
    make_due()
    assert read_due_managed_orgs() == 1
    assert "Acquired" in managed_by(credential)


def test_a_list_read_in_the_future_is_read_again(parent: SandboxServer):
    store_credential(parent, "Group SOC")
    Credential.objects.update(managed_orgs_read_at=clock.now() + timedelta(days=400))
    assert read_due_managed_orgs() == 1


def test_retired_and_unverified_credentials_send_nothing(parent: SandboxServer):
    store_credential(parent, "Group SOC")
    Credential.objects.update(retired_at=clock.now())
    store_credential(parent, "Payments US", name="Unverified")
    Credential.objects.filter(name="Unverified").update(org_id="")
    assert read_due_managed_orgs() == 0
    assert requests_for_lists(parent) == 0


def test_keys_that_cannot_be_decrypted_are_stored_as_a_failure(parent: SandboxServer):
    credential = store_credential(parent, "Group SOC")
    Credential.objects.update(secret_version=99)
    assert read_due_managed_orgs() == 1
    credential.refresh_from_db()
    assert (credential.managed_orgs_error or {})["cause"] == "keys_not_opened"


@pytest.mark.database
def test_an_org_that_is_no_longer_managed_stays_known(parent: SandboxServer):
    credential = added(parent, "Group SOC")
    parent.world.set_parent(org=org_named(parent.world, "Acquired"), parent=None)
    make_due()
    read_due_managed_orgs()
    assert managed_by(credential) == ["Group SOC", "Payments US"]
    assert Org.objects.filter(name="Acquired").exists()


@pytest.mark.database
def test_a_managed_list_renames_no_org(parent: SandboxServer):
    added(parent, "Group SOC")
    Org.objects.filter(name="Acquired").update(name="Known by another name")
    make_due()
    read_due_managed_orgs()
    assert Org.objects.filter(name="Known by another name").exists()


def test_the_worker_reads_what_is_due(parent: SandboxServer):
    credential = store_credential(parent, "Group SOC")
    Worker().work_once()
    assert "Acquired" in managed_by(credential)
