"""Every JSON answer of the sandbox is held against the description of Datadog's API."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from openapi_core import OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from openapi_core.exceptions import OpenAPIError
from openapi_spec_validator import validate

from sandbox import faults
from sandbox.demo_world import demo_world
from sandbox.faults import FAULTS, Fault, Wire
from sandbox.server import SandboxServer
from tests.sandbox.client import LIST, ask, change, new_connection, to_payments
from tests.support.sandbox import EU, US

DESCRIPTION = Path(__file__).parent.parent / "datadog_openapi.yaml"


@cache
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(DESCRIPTION.read_text())
    return loaded


@cache
def description() -> OpenAPI:
    return OpenAPI.from_dict(document())


def hold_against_the_description(answer: requests.Response) -> None:
    request = RequestsOpenAPIRequest(answer.request)
    description().validate_response(request, RequestsOpenAPIResponse(answer))


def proper_answers(server: SandboxServer) -> Iterator[requests.Response]:
    pair, connection_id = to_payments(server)
    sink = server.world.add_org(name="Analytics", site=US)
    one = f"{LIST}/{connection_id}"
    for path in ("/api/v1/validate", "/api/v2/validate_keys", "/api/v2/current_user", LIST):
        yield ask(server, "GET", path, pair=pair)
        yield ask(server, "GET", path, pair=pair, site=EU)
    yield ask(server, "GET", "/api/v2/current_user", pair=None)
    yield ask(server, "GET", f"{LIST}?limit=1&offset=99", pair=pair)
    yield ask(server, "GET", f"{LIST}?limit=many", pair=pair)
    for _ in ("made", "there already"):
        yield ask(server, "POST", LIST, pair=pair, body=new_connection(sink.id, "logs", "rum"))
    yield ask(server, "POST", LIST, pair=pair, body=new_connection(pair.org.id, "logs"))
    yield ask(server, "POST", LIST, pair=pair, body=new_connection("nobody", "logs"))
    yield ask(server, "PATCH", one, pair=pair, body=change(connection_id, "audit"))
    yield ask(server, "PATCH", one, pair=pair, body=change(connection_id))
    yield ask(server, "DELETE", f"{LIST}/1234", pair=pair)
    yield ask(server, "DELETE", one, pair=pair, site=EU)
    for _ in ("deleted", "gone"):
        yield ask(server, "DELETE", one, pair=pair)
    yield ask(server, "PATCH", one, pair=pair, body=change(connection_id, "audit"))


def test_the_description_is_itself_valid() -> None:
    validate(document())


def test_every_proper_answer_is_as_described(sandbox: SandboxServer) -> None:
    statuses = set()
    for answer in proper_answers(sandbox):
        hold_against_the_description(answer)
        statuses.add((answer.request.method, answer.status_code))
    assert statuses >= {
        ("GET", 200),
        ("GET", 401),
        ("GET", 403),
        ("POST", 200),
        ("POST", 400),
        ("POST", 404),
        ("POST", 409),
        ("PATCH", 200),
        ("PATCH", 400),
        ("PATCH", 404),
        ("DELETE", 200),
        ("DELETE", 400),
        ("DELETE", 403),
        ("DELETE", 404),
    }


def test_every_listing_of_the_demo_is_as_described() -> None:
    with SandboxServer(demo_world()) as server:
        for pair in server.world.key_pairs():
            hold_against_the_description(ask(server, "GET", LIST, pair=pair))
            hold_against_the_description(ask(server, "GET", "/api/v2/current_user", pair=pair))


JSON_ERRORS = [
    fault
    for fault in FAULTS.values()
    if fault.errors and fault.wire is Wire.ANSWER and fault.status is not None
]


@pytest.mark.parametrize("fault", JSON_ERRORS, ids=lambda fault: fault.name)
def test_every_json_error_is_as_described(sandbox: SandboxServer, fault: Fault) -> None:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    answer = ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert answer.status_code == fault.status
    hold_against_the_description(answer)


@pytest.mark.parametrize(
    "fault",
    [faults.TRUNCATED_JSON, faults.NOT_AN_OBJECT, faults.ANSWERS_200_HTML, faults.ANSWERS_202],
    ids=lambda fault: fault.name,
)
def test_the_description_lets_no_broken_listing_pass(sandbox: SandboxServer, fault: Fault) -> None:
    pair, _ = to_payments(sandbox)
    sandbox.world.set_fault(org=pair.org, method="GET", fault=fault)
    answer = ask(sandbox, "GET", LIST, pair=pair)
    with pytest.raises(OpenAPIError):
        hold_against_the_description(answer)
