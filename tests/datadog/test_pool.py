"""Connections stay open for one action and no longer."""

from connections.datadog.client import DatadogClient
from connections.net import http
from tests.datadog.servers import CONNECTION_ID, ScriptedServer, http_response, key_pair, respond


def test_no_connection_outlives_its_action():
    with ScriptedServer([respond(http_response())]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        for _ in range(2):
            with http.pool(), http.pool():
                client.delete_org_connection(connection_id=CONNECTION_ID)
        client.delete_org_connection(connection_id=CONNECTION_ID)
    assert [request.connection_number for request in server.seen] == [1, 2, 3]
