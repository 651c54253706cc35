"""The model's fake client returns exactly what the real client returns from the simulator."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult, DatadogError, WriteResponse
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.support.fake_datadog import FakeDatadog
from tests.support.processes import free_port
from tests.support.sandbox import US, connection_between, key_pair_of, make_world

ORG = "Payments US"

WRITE_FAULTS = [
    None,
    faults.RETURNS_400,
    faults.RETURNS_401,
    faults.RETURNS_403,
    faults.RETURNS_404,
    faults.RETURNS_404_HTML,
    faults.RETURNS_404_TEXT,
    faults.RETURNS_408,
    faults.RETURNS_409,
    faults.RETURNS_500,
    faults.RETURNS_502_HTML,
    faults.RETURNS_202,
    faults.RETURNS_200_WITHOUT_DELETING,
    faults.EXECUTES_THEN_500,
    faults.EXECUTES_THEN_404,
    faults.RESET_AFTER_READING,
    faults.CLOSE_AFTER_READING,
    faults.EXECUTES_THEN_RESET,
    faults.EXECUTES_THEN_CLOSE,
    faults.EXECUTES_THEN_NO_RESPONSE,
    faults.HALF_STATUS_LINE,
    faults.TRUNCATED_BODY,
    faults.rate_limited(reset="7, 7"),
    faults.rate_limited(html=True),
    faults.redirected(status=302),
    faults.ANOTHER_CREATES_FIRST,
    faults.ANOTHER_CHANGES_FIRST,
    faults.ANOTHER_DELETES_FIRST,
]
LISTING_FAULTS = [
    None,
    faults.RETURNS_403,
    faults.RETURNS_200_HTML,
    faults.RETURNS_500,
    faults.INCOMPLETE_PAGE,
    faults.CHANGING_TOTAL,
    faults.TRUNCATED_JSON,
    faults.NOT_AN_OBJECT,
    faults.ANOTHER_ORG,
    faults.TRUNCATED_BODY,
    faults.EXECUTES_THEN_RESET,
    *faults.CONTRADICTIONS,
]


def name_of(fault: Fault | None) -> str:
    return fault.name if fault else "no_fault"


def real(server: SandboxServer) -> DatadogClient:
    """The real client with Payments US's keys, connected to the simulator."""
    pair = key_pair_of(server.world, ORG)
    return DatadogClient(
        base_url=server.base_urls[US],
        keys=KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key)),
    )


def fake(world: World) -> FakeDatadog:
    """The fake with the same keys."""
    return FakeDatadog(world, pair=key_pair_of(world, ORG))


def compare(
    server: SandboxServer,
    fault: Fault | None,
    operation: str,
    call: Callable[[DatadogClient], object],
) -> object:
    """Check that both return the same and change the world in the same way; the result."""
    outcomes = []
    for datadog in (real(server), fake(server.world)):
        if fault:
            server.world.set_fault(fault=fault, operation=operation)
        result = call(datadog)
        received = [(request.path, request.executed) for request in server.world.requests()]
        left = [
            (connection.source_org, connection.sink_org, connection.connection_types)
            for connection in server.world.connections()
        ]
        outcomes.append((result, received, left))
        server.world.reset()
    assert outcomes[0] == outcomes[1]
    return outcomes[0][0]


def without_time(answer: WriteResponse) -> WriteResponse:
    return replace(answer, duration_ms=0)


def without_id(answer: WriteResponse) -> WriteResponse:
    """Without the ID and the time that a created connection gets."""
    ours = re.sub(rb'"(id|created_at)":"[^"]*"', b"", answer.body)
    return replace(without_time(answer), body=ours, body_sha256="")


def or_error(call_datadog: Callable[[], object]) -> object:
    """The result, or the details of the error."""
    try:
        return call_datadog()
    except DatadogError as error:
        return (error.cause, error.http_status, error.errors, error.retry_after_seconds)


@pytest.mark.sweep(every=6)
@pytest.mark.parametrize("fault", WRITE_FAULTS, ids=name_of)
@pytest.mark.parametrize("operation", ["delete", "create", "update"])
def test_a_write_has_the_same_result(
    bare_sandbox: SandboxServer, operation: str, fault: Fault | None
):
    wanted = connection_between(bare_sandbox.world, ORG, "Group SOC").id
    sink = bare_sandbox.world.add_org(name="Analytics", site=US)

    def send(datadog: DatadogClient) -> WriteResponse:
        match operation:
            case "delete":
                return datadog.delete_org_connection(connection_id=wanted, deadline_seconds=2)
            case "create":
                return datadog.create_org_connection(
                    sink_org_id=sink.id, connection_types=["logs", "rum"], deadline_seconds=2
                )
            case _:
                return datadog.update_org_connection(
                    connection_id=wanted, connection_types=["audit"], deadline_seconds=2
                )

    result = compare(bare_sandbox, fault, operation, lambda datadog: without_id(send(datadog)))
    assert isinstance(result, WriteResponse)
    assert (result.cause is None) == (result.http_status == 200)


@pytest.mark.sweep(every=3)
@pytest.mark.parametrize("fault", LISTING_FAULTS, ids=name_of)
@pytest.mark.parametrize("page_size", [1000, 1])
def test_a_list_has_the_same_result(
    bare_sandbox: SandboxServer, fault: Fault | None, page_size: int
):
    compare(
        bare_sandbox,
        fault,
        "list",
        lambda datadog: or_error(lambda: datadog.list_org_connections(page_size=page_size)),
    )


@pytest.mark.parametrize("fault", [None, faults.ANOTHER_ORG, faults.RETURNS_403], ids=name_of)
def test_the_owner_of_the_keys_is_the_same(bare_sandbox: SandboxServer, fault: Fault | None):
    compare(bare_sandbox, fault, "current_user", lambda datadog: or_error(lambda: datadog.whoami()))


def test_a_closed_port_has_the_same_result():
    world = make_world()
    pair = key_pair_of(world, ORG)
    wanted = connection_between(world, ORG, "Group SOC").id
    client = DatadogClient(
        base_url=f"http://127.0.0.1:{free_port()}",
        keys=KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key)),
    )
    closed = FakeDatadog(world, pair=pair, is_closed=True)
    real_result, fake_result = (
        without_time(each.delete_org_connection(connection_id=wanted)) for each in (client, closed)
    )
    assert real_result == fake_result
    assert fake_result.verdict == AttemptResult.NOT_SENT


def test_a_deadline_that_has_passed_sends_nothing(bare_sandbox: SandboxServer):
    wanted = connection_between(bare_sandbox.world, ORG, "Group SOC").id
    verdicts = {
        each.delete_org_connection(connection_id=wanted, deadline_seconds=-1).verdict
        for each in (real(bare_sandbox), fake(bare_sandbox.world))
    }
    assert verdicts == {AttemptResult.NOT_SENT}
    assert bare_sandbox.world.requests() == []
