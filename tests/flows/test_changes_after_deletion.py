"""What later syncs report about a connection that Org Admin deleted."""

from uuid import UUID

import pytest

from connections.access.actor import WORKER
from connections.inventory.syncs import sync_credentials
from connections.models import Change, OrgConnectionSnapshot
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import Requester, store_credential

pytestmark = pytest.mark.database


def test_our_removal_needs_no_attention_but_its_recreation_does(
    requester: Requester, sandbox: SandboxServer
):
    other_side = store_credential(sandbox, "Group SOC")
    former = requester.connection
    requester.delete_and_verify()
    deletion = requester.deletion()
    # It is verified, so the inventory no longer shows it, but the other side hasn't been tried yet.
    assert not OrgConnectionSnapshot.objects.filter(
        connection_id=UUID(former.id), is_current=True
    ).exists()
    assert not Change.objects.exists()

    sync_credentials(credentials=[other_side], actor=WORKER)
    removed = Change.objects.get()
    assert (removed.kind, removed.deletion, removed.needs_attention) == ("removed", deletion, False)
    assert set(removed.observed_by) == {str(requester.credential.pk), str(other_side.pk)}

    new = sandbox.world.add_connection(source_org=former.source_org, sink_org=former.sink_org)
    sync_credentials(credentials=[other_side, requester.credential], actor=WORKER)
    recreated = Change.objects.exclude(pk=removed.pk).get()
    assert (recreated.kind, str(recreated.connection_id)) == ("recreated", new.id)
    assert (recreated.deletion, recreated.needs_attention) == (deletion, True)


def test_a_removal_after_a_refused_delete_is_another_s(
    requester: Requester, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="delete")
    requester.delete()
    sandbox.world.clear_faults()
    sandbox.world.remove_connection(connection_id=requester.connection.id)
    sync_credentials(credentials=[requester.credential], actor=WORKER)
    change = Change.objects.get()
    assert (change.kind, change.deletion, change.needs_attention) == ("removed", None, True)
