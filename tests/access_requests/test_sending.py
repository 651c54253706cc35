"""One POST or PATCH leaves for one confirmation, and a list proves its effect."""

import pytest

from connections.access.actor import WORKER
from connections.change_requests import verification
from connections.models import AccessOutcome, Agreement, Credential
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_a_connection_is_created_and_verified_and_its_agreement_set(
    create: RequestAccess, sandbox: SandboxServer, clock: SettableClock, credential: Credential
):
    access_request = create()
    created = connection_between(sandbox.world, "Payments US", "Group SOC")
    assert access_request.outcome == AccessOutcome.CREATED
    assert str(access_request.connection_id) == created.id
    clock.advance(seconds=5)
    verification.verify(change_request=access_request, actor=WORKER)
    access_request.refresh_from_db()
    assert access_request.verified_at
    # The sync that verified it also shows it in the inventory.
    assert credential.snapshots.get(is_current=True, connection_id=created.id)
    agreement = Agreement.objects.get()
    assert (agreement.owner_text, agreement.connection_types) == ("SOC team", ["logs"])


def test_data_types_are_changed_and_verified(
    change: RequestAccess, sandbox: SandboxServer, clock: SettableClock, credential: Credential
):
    access_request = change()
    assert access_request.outcome == AccessOutcome.CHANGED
    changed = connection_between(sandbox.world, "Payments US", "Group SOC")
    assert sorted(changed.connection_types) == ["audit", "logs"]
    clock.advance(seconds=5)
    verification.verify(change_request=access_request, actor=WORKER)
    access_request.refresh_from_db()
    assert access_request.verified_at
    listed = credential.snapshots.get(is_current=True, connection_id=changed.id)
    assert sorted(listed.connection_types) == ["audit", "logs"]
