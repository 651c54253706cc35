"""What the control API lets people in the simulated Datadog do to connections."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox.server import SandboxServer
from tests.support.processes import PATIENCE
from tests.support.sandbox import US, connection_between, make_world


@pytest.fixture
def server() -> Any:
    """A running simulator with a small world."""
    with SandboxServer(make_world()) as running:
        yield running


def change(server: SandboxServer, **values: Any) -> int:
    """The status of a request to change a connection."""
    address = urlsplit(server.base_urls[US])
    client = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    client.request("POST", "/__sandbox__/connections", json.dumps(values))
    status = client.getresponse().status
    client.close()
    return status


def test_a_removed_connection_is_recreated_with_another_id(server: SandboxServer):
    before = connection_between(server.world, "Payments US", "Group SOC")
    assert change(server, connection_id=before.id, change="recreate") == 404
    assert change(server, connection_id=before.id, change="remove") == 200
    assert change(server, connection_id=before.id, change="remove") == 404
    assert change(server, connection_id=before.id, change="recreate") == 200
    after = connection_between(server.world, "Payments US", "Group SOC")
    assert after.id != before.id
    assert after.connection_types == before.connection_types


def test_a_disabled_creator_is_disabled_on_all_connections(server: SandboxServer):
    one = connection_between(server.world, "Payments US", "Group SOC")
    assert change(server, connection_id=one.id, change="disable_creator") == 200
    assert all(connection.created_by.disabled for connection in server.world.connections())
