"""Pairs of orgs that a credential of Payments US lists."""

import pytest

from connections.models import Credential, OrgConnectionSnapshot, OrgPair
from sandbox.server import SandboxServer
from tests.agreements.support import pair_between
from tests.flows.support import store_credential


@pytest.fixture
def payments(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Payments US")


@pytest.fixture
def pair(payments: Credential, sandbox: SandboxServer) -> OrgPair:
    """A pair with a connection."""
    return pair_between(sandbox, "Payments US", "Group SOC")


@pytest.fixture
def other(payments: Credential, sandbox: SandboxServer) -> OrgPair:
    """Another pair with a connection."""
    snapshot = OrgConnectionSnapshot.objects.exclude(
        sink_org_id=pair_between(sandbox, "Payments US", "Group SOC").sink_org_id
    ).first()
    assert snapshot
    return OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)
