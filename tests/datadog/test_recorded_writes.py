"""The client and Datadog's recordings: the same requests, and what their responses mean."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connections.datadog.client import DatadogClient
from connections.datadog.payloads import OrgConnection
from connections.datadog.responses import AttemptResult, WriteResponse
from tests.datadog.actions import PATCH, POST, WriteUnderTest
from tests.datadog.servers import (
    Play,
    ScriptedServer,
    http_response,
    key_pair,
    respond,
    respond_and_close,
)
from tests.support import recorded_exchanges as recorded
from tests.support.recorded_exchanges import EXCHANGES, Exchange

VERDICTS = {
    "created": AttemptResult.CREATED,
    "changed": AttemptResult.CHANGED,
    "deleted": AttemptResult.DELETED,
    "created twice": AttemptResult.ALREADY_EXISTS,
    "created for an unknown org": AttemptResult.NOT_FOUND,
    "absent connection changed": AttemptResult.NOT_FOUND,
    "absent connection deleted": AttemptResult.NOT_FOUND,
}


def replay(exchange: Exchange, client: DatadogClient) -> WriteResponse:
    """Send the recorded request with the client."""
    connection_id = exchange.path.removeprefix("/")
    if exchange.data is None:
        return client.delete_org_connection(connection_id=connection_id)
    types = exchange.data["attributes"]["connection_types"]
    if exchange.method == "PATCH":
        return client.update_org_connection(connection_id=connection_id, connection_types=types)
    sink = exchange.data["relationships"]["sink_org"]["data"]["id"]
    return client.create_org_connection(sink_org_id=sink, connection_types=types)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_a_recorded_exchange_is_repeated_and_understood(exchange: Exchange):
    play = respond(http_response(exchange.status, exchange.response.encode()))
    with ScriptedServer([play]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        if exchange.name not in VERDICTS:
            with pytest.raises(ValueError, match=r"connection ID|data type"):
                replay(exchange, client)
            assert server.connections == 0
            return
        result = replay(exchange, client)
    (seen,) = server.seen
    assert (seen.method, seen.target) == (
        exchange.method,
        f"/api/v2/org_connections{exchange.path}",
    )
    assert (json.loads(seen.body)["data"] if seen.body else None) == exchange.data
    assert result.verdict is VERDICTS[exchange.name]
    assert list(result.errors) == json.loads(exchange.response).get("errors", [])


def find(result: WriteResponse, **changes: str) -> OrgConnection | None:
    """The connection in the response, which should be the recorded one but for the changes."""
    ids = {"source_org_id": recorded.SOURCE_ORG_ID, "sink_org_id": recorded.SINK_ORG_ID}
    return result.find_connection(**(ids | changes))


@pytest.mark.parametrize("exchange", [recorded.CREATED, recorded.CHANGED], ids=lambda one: one.name)
def test_the_connection_in_a_response_is_read(exchange: Exchange):
    write = POST if exchange is recorded.CREATED else PATCH
    names = ("Parent", "Child", "Dana Keller") if write is POST else ("", "", "")
    result = write.send_against(respond(http_response(body=exchange.response.encode())))
    found = find(result, connection_id=recorded.CONNECTION_ID)
    assert found
    assert found.id == recorded.CONNECTION_ID
    assert found.connection_types == (("logs",) if write is POST else ("logs", "metrics"))
    assert found.created_at == datetime(2025, 8, 26, 20, 19, 38, 208326, tzinfo=UTC)
    assert found.created_by.id == recorded.CREATOR_ID
    assert (found.source_org.name, found.sink_org.name, found.created_by.name) == names


WHOLE = recorded.CREATED.response
UNREADABLE = {
    "empty": "",
    "no JSON": "<html>",
    "half": WHOLE[:90],
    "a list": f"[{WHOLE}]",
    "no data": "{}",
    "data is a list": WHOLE.replace('"data":{"type":"org_connection"', '"data":[{"x":"y"'),
    "no types": WHOLE.replace('"connection_types":["logs"]', '"connection_types":"logs"'),
    "a malformed ID": WHOLE.replace(recorded.CONNECTION_ID, "../../v2/org"),
    "an ID twice": WHOLE.replace('"id":"01', f'"id":"{recorded.ABSENT_ID}","id":"01'),
    "no sink org": WHOLE.replace('"sink_org":', '"other":'),
    "errors": WHOLE.strip()[:-1] + ',"errors":["Partial result"]}',
    "a long number": WHOLE.replace('"logs"', "1" * 5_000),
    "deep": WHOLE.replace('"logs"', "[" * 20_000),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_200_with_an_unreadable_body_is_a_success_without_a_connection(
    write: WriteUnderTest, body: str
):
    result = write.send_against(respond(http_response(body=body.encode())))
    assert (result.verdict, result.http_status) == (write.success, 200)
    assert find(result) is None


@pytest.mark.parametrize(
    "play",
    [
        respond_and_close(http_response(body=WHOLE.encode(), length=5_000)),
        respond(http_response(body=WHOLE.encode() + b" " * 70_000)),
    ],
    ids=["cut", "too long"],
)
def test_a_body_that_is_not_complete_is_not_read(play: Play):
    result = POST.send_against(play)
    assert (result.verdict, find(result)) == (AttemptResult.CREATED, None)


@pytest.mark.parametrize("name", ["source_org_id", "sink_org_id", "connection_id"])
def test_a_200_about_another_connection_is_a_success_without_a_connection(name: str):
    result = POST.send_against(respond(http_response(body=WHOLE.encode())))
    assert result.verdict is AttemptResult.CREATED
    assert find(result) is not None
    assert find(result, **{name: recorded.ABSENT_ID}) is None


@pytest.mark.parametrize("status", ["202 Accepted", "409 Conflict", "500 X"])
def test_only_a_success_describes_a_connection(status: str):
    result = POST.send_against(respond(http_response(status, WHOLE.encode())))
    assert find(result) is None


def test_data_types_are_sent_as_they_are():
    types = ["rum", "ünknown \u2028"]
    with ScriptedServer([respond(http_response())]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        client.create_org_connection(sink_org_id="org\r\n1", connection_types=types)
    document: dict[str, Any] = json.loads(server.seen[0].body)
    assert document["data"]["attributes"]["connection_types"] == types
    assert server.seen[0].target == "/api/v2/org_connections"
