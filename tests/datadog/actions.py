"""One write against one server, in the same way for DELETE, POST and PATCH."""

from collections.abc import Callable
from dataclasses import dataclass

from connections.datadog import responses
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult, Write, WriteResponse
from connections.net.http import Route
from tests.datadog.servers import CONNECTION_ID, Play, ScriptedServer, key_pair

SINK_ORG_ID = "90abcdef-1234-5678-90ab-cdef12345678"
TYPES = ("logs", "metrics")


@dataclass(frozen=True, kw_only=True)
class WriteUnderTest:
    """One method of the client that changes a connection."""

    write: Write
    success: AttemptResult
    call: Callable[[DatadogClient, float], WriteResponse]

    @property
    def method(self) -> str:
        return self.write.method

    def send(
        self,
        url: str,
        *,
        deadline_seconds: float = 5,
        connect_seconds: float = 2,
        proxy_url: str = "",
        ca_bundle: str = "",
        write_by: float | None = None,
    ) -> WriteResponse:
        client = DatadogClient(
            base_url=url,
            route=Route(proxy_url=proxy_url, ca_bundle=ca_bundle),
            connect_seconds=connect_seconds,
            keys=key_pair(),
            write_by=write_by,
        )
        return self.call(client, deadline_seconds)

    def send_against(self, *plays: Play, deadline_seconds: float = 5) -> WriteResponse:
        """Send once against a script; the server must have seen exactly one request."""
        with ScriptedServer(list(plays)) as server:
            result = self.send(server.url, deadline_seconds=deadline_seconds)
        assert [request.method for request in server.seen] == [self.method]
        return result


DELETE = WriteUnderTest(
    write=responses.DELETE,
    success=AttemptResult.DELETED,
    call=lambda client, seconds: client.delete_org_connection(
        connection_id=CONNECTION_ID, deadline_seconds=seconds
    ),
)
POST = WriteUnderTest(
    write=responses.CREATE,
    success=AttemptResult.CREATED,
    call=lambda client, seconds: client.create_org_connection(
        sink_org_id=SINK_ORG_ID, connection_types=TYPES, deadline_seconds=seconds
    ),
)
PATCH = WriteUnderTest(
    write=responses.UPDATE,
    success=AttemptResult.CHANGED,
    call=lambda client, seconds: client.update_org_connection(
        connection_id=CONNECTION_ID, connection_types=TYPES, deadline_seconds=seconds
    ),
)
WRITES = (DELETE, POST, PATCH)
delete_against = DELETE.send_against
