"""Every JSON response of the simulator matches an OpenAPI document of Datadog's API."""

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
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.sandbox.client import (
    LIST,
    MANAGED_ORGS,
    create_body,
    payments_connection,
    send,
    update_body,
)
from tests.support.sandbox import EU, US

DOCUMENT_PATH = Path(__file__).parent.parent / "datadog_openapi.yaml"


@cache
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(DOCUMENT_PATH.read_text())
    return loaded


@cache
def openapi() -> OpenAPI:
    return OpenAPI.from_dict(document())


def check_response(response: requests.Response) -> None:
    request = RequestsOpenAPIRequest(response.request)
    openapi().validate_response(request, RequestsOpenAPIResponse(response))


def responses_without_faults(server: SandboxServer) -> Iterator[requests.Response]:
    pair, connection_id = payments_connection(server)
    sink = server.world.add_org(name="Analytics", site=US)
    one = f"{LIST}/{connection_id}"
    for path in (
        "/api/v1/validate",
        "/api/v2/validate_keys",
        "/api/v2/current_user",
        MANAGED_ORGS,
        LIST,
    ):
        yield send(server, "GET", path, pair=pair)
        yield send(server, "GET", path, pair=pair, site=EU)
    yield send(server, "GET", "/api/v2/current_user", pair=None)
    yield send(server, "GET", f"{LIST}?limit=1&offset=99", pair=pair)
    yield send(server, "GET", f"{LIST}?limit=many", pair=pair)
    for _ in ("created", "already exists"):
        yield send(server, "POST", LIST, pair=pair, body=create_body(sink.id, "logs", "rum"))
    yield send(server, "POST", LIST, pair=pair, body=create_body(pair.org.id, "logs"))
    yield send(server, "POST", LIST, pair=pair, body=create_body("unknown", "logs"))
    yield send(server, "PATCH", one, pair=pair, body=update_body(connection_id, "audit"))
    yield send(server, "PATCH", one, pair=pair, body=update_body(connection_id))
    yield send(server, "DELETE", f"{LIST}/1234", pair=pair)
    yield send(server, "DELETE", one, pair=pair, site=EU)
    for _ in ("deleted", "gone"):
        yield send(server, "DELETE", one, pair=pair)
    yield send(server, "PATCH", one, pair=pair, body=update_body(connection_id, "audit"))


def test_the_openapi_document_is_valid():
    validate(document())


def test_every_response_without_faults_matches_the_document(sandbox: SandboxServer):
    statuses = set()
    for response in responses_without_faults(sandbox):
        check_response(response)
        statuses.add((response.request.method, response.status_code))
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


def test_every_list_of_the_demo_matches_the_document():
    with SandboxServer(demo_world()) as server:
        for pair in server.world.key_pairs():
            check_response(send(server, "GET", LIST, pair=pair))
            check_response(send(server, "GET", "/api/v2/current_user", pair=pair))
            check_response(send(server, "GET", MANAGED_ORGS, pair=pair))


@pytest.mark.parametrize(
    "fault",
    [faults.TRUNCATED_JSON, faults.NOT_AN_OBJECT, faults.RETURNS_200_HTML, faults.RETURNS_202],
    ids=lambda fault: fault.name,
)
def test_broken_lists_do_not_match_the_document(sandbox: SandboxServer, fault: Fault):
    pair, _ = payments_connection(sandbox)
    sandbox.world.set_fault(org=pair.org, method="GET", fault=fault)
    response = send(sandbox, "GET", LIST, pair=pair)
    with pytest.raises(OpenAPIError):
        check_response(response)
