"""Sends requests to the simulator, through an HTTP library or a plain socket."""

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from sandbox.entities import KeyPair
from sandbox.server import SandboxServer
from tests.support.processes import PATIENCE
from tests.support.sandbox import connection_between, key_headers, key_pair_of

LIST = "/api/v2/org_connections"
MANAGED_ORGS = "/api/v2/org"


def send(
    server: SandboxServer,
    method: str,
    path: str,
    *,
    pair: KeyPair | None,
    body: dict[str, Any] | None = None,
    site: str | None = None,
) -> requests.Response:
    """Send one request to the key pair's site and return the response.

    Redirects are not followed.
    """
    home = site or (pair.org.site.name if pair else next(iter(server.base_urls)))
    return requests.request(
        method,
        server.base_urls[home] + path,
        headers=key_headers(pair) if pair else {},
        json=body,
        timeout=PATIENCE,
        allow_redirects=False,
    )


def payments_connection(server: SandboxServer) -> tuple[KeyPair, str]:
    """Return Payments US's key pair and the ID of its connection to Group SOC."""
    connection = connection_between(server.world, "Payments US", "Group SOC")
    return key_pair_of(server.world, "Payments US"), connection.id


@dataclass(frozen=True, kw_only=True)
class WriteRequest:
    """A request that would change a connection of Payments US."""

    method: str
    path: str
    pair: KeyPair
    body: dict[str, Any] | None = None


def make_write(server: SandboxServer, method: str) -> WriteRequest:
    """A DELETE or a PATCH of Payments US's connection, or a POST of another one."""
    pair, connection_id = payments_connection(server)
    if method == "POST":
        sink = server.world.add_org(name="Analytics", site=pair.org.site)
        return WriteRequest(
            method=method, path=LIST, pair=pair, body=create_body(sink.id, "logs", "rum")
        )
    body = update_body(connection_id, "audit") if method == "PATCH" else None
    return WriteRequest(method=method, path=f"{LIST}/{connection_id}", pair=pair, body=body)


def send_delete(server: SandboxServer, pair: KeyPair, connection_id: str) -> socket.socket:
    """Send a DELETE and return the socket before anything is read from it."""
    path = f"{LIST}/{connection_id}"
    return send_write(server, WriteRequest(method="DELETE", path=path, pair=pair))


def send_write(server: SandboxServer, request: WriteRequest) -> socket.socket:
    """Send a request and return the socket before anything is read from it."""
    address = urlsplit(server.base_urls[request.pair.org.site.name])
    assert address.hostname is not None
    client = socket.create_connection((address.hostname, address.port or 80), timeout=PATIENCE)
    body = json.dumps(request.body).encode() if request.body else b""
    fields = key_headers(request.pair) | {"Host": "sandbox", "Content-Length": str(len(body))}
    headers = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    client.sendall(f"{request.method} {request.path} HTTP/1.1\r\n{headers}\r\n".encode() + body)
    return client


def read_delete_response(server: SandboxServer, pair: KeyPair, connection_id: str) -> bytes:
    """Send a DELETE and read until the server closes; a TCP reset raises ConnectionResetError."""
    received = b""
    with send_delete(server, pair, connection_id) as client:
        while chunk := client.recv(65536):
            received += chunk
    return received


def create_body(sink_org_id: str, *types: str) -> dict[str, Any]:
    """Return the body of a request that creates a connection."""
    return {
        "data": {
            "type": "org_connection",
            "attributes": {"connection_types": list(types)},
            "relationships": {"sink_org": {"data": {"type": "orgs", "id": sink_org_id}}},
        }
    }


def update_body(connection_id: str, *types: str) -> dict[str, Any]:
    """Return the body of a request that changes data types."""
    return {
        "data": {
            "type": "org_connection",
            "id": connection_id,
            "attributes": {"connection_types": list(types)},
        }
    }
