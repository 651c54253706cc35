"""One DELETE against one server."""

import socket

from connections.datadog.client import DatadogClient
from connections.datadog.responses import WriteResponse
from connections.net.route import Route
from tests.datadog.servers import (
    CONNECTION_ID,
    Play,
    ScriptedServer,
    key_pair,
)


def delete(
    url: str,
    *,
    deadline_seconds: float = 5,
    connect_seconds: float = 2,
    proxy_url: str = "",
    ca_bundle: str = "",
) -> WriteResponse:
    client = DatadogClient(
        base_url=url,
        route=Route(proxy_url=proxy_url, ca_bundle=ca_bundle),
        connect_seconds=connect_seconds,
        keys=key_pair(),
    )
    return client.delete_org_connection(
        connection_id=CONNECTION_ID, deadline_seconds=deadline_seconds
    )


def delete_against(*plays: Play, deadline_seconds: float = 5) -> WriteResponse:
    """DELETE once against a script; the server must have seen exactly one request."""
    with ScriptedServer(list(plays)) as server:
        result = delete(server.url, deadline_seconds=deadline_seconds)
    assert [request.method for request in server.seen] == ["DELETE"]
    return result


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
