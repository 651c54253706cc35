"""Pairs of orgs that a credential of Payments US lists."""

import pytest

from connections.models import Credential, OrgPair
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
