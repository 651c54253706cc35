"""The credentials of three orgs whose syncs overlap."""

import pytest

from connections.models import Credential
from sandbox.server import SandboxServer
from tests.flows.support import store_credential


@pytest.fixture
def payments(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Payments US")


@pytest.fixture
def labs(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Labs EU")


@pytest.fixture
def soc(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Group SOC")
