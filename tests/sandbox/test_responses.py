"""Without faults the simulator responds exactly as Datadog does."""

import json
from dataclasses import replace
from datetime import datetime

import pytest
import requests

from sandbox.entities import READ, WRITE, make_user
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.sandbox.client import (
    LIST,
    MANAGED_ORGS,
    create_body,
    payments_connection,
    send,
    update_body,
)
from tests.support import recorded_exchanges as recorded
from tests.support.processes import PATIENCE
from tests.support.recorded_exchanges import EXCHANGES, Exchange
from tests.support.sandbox import EU, US, connection_between, key_headers, key_pair_of, org_named

ABSENT = "2f1a6a52-54c4-4b0e-9d0c-3a1f2b7c9e10"


def errors(text: str) -> str:
    return f'{{"errors":["{text}"]}}\n'


def test_delete_returns_an_empty_object_and_a_newline(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert (response.status_code, response.text) == (200, "{}\n")
    assert response.headers["Content-Type"] == "application/json"


def test_a_second_delete_returns_404(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert response.status_code == 404
    assert sandbox.world.deletes_received(connection_id) == 2
    assert sandbox.world.deletes_executed(connection_id) == 1


@pytest.mark.parametrize("bad", ["1234", "z" * 36, f"{{{ABSENT}}}", "..%2F..%2Fv2%2Forg"])
def test_a_malformed_id_returns_400(sandbox: SandboxServer, bad: str):
    pair, _ = payments_connection(sandbox)
    response = send(sandbox, "DELETE", f"{LIST}/{bad}", pair=pair)
    assert (response.status_code, response.text) == (
        400,
        errors("connection id must be a valid uuid"),
    )


def test_an_org_that_is_neither_source_nor_sink_gets_404(sandbox: SandboxServer):
    other = sandbox.world.add_key_pair(org=sandbox.world.add_org(name="Other", site=US))
    _, connection_id = payments_connection(sandbox)
    response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=other)
    assert response.status_code == 404
    assert sandbox.world.connection(connection_id=connection_id) is not None


def test_a_connection_object_has_the_recorded_shape(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    listed = send(sandbox, "GET", LIST, pair=pair).json()["data"][0]
    assert listed == {
        "type": "org_connection",
        "id": connection_id,
        "attributes": {
            "connection_types": ["logs", "metrics"],
            "created_at": "2025-08-26T20:19:35.554634+00:00",
        },
        "relationships": {
            "source_org": {
                "data": {"type": "orgs", "id": connection.source_org.id, "name": "Payments US"}
            },
            "sink_org": {
                "data": {"type": "orgs", "id": connection.sink_org.id, "name": "Group SOC"}
            },
            "created_by": {
                "data": {"type": "users", "id": connection.created_by.id, "name": "Dana Keller"}
            },
        },
    }


def test_limit_and_offset_select_a_page_and_do_not_change_the_totals(sandbox: SandboxServer):
    world = sandbox.world
    pair, _ = payments_connection(sandbox)
    for number in range(5):
        sink = world.add_org(name=f"Sink {number}", site=US)
        world.add_connection(source_org=pair.org, sink_org=sink)
    ids: list[str] = []
    sizes = []
    for offset in (0, 3, 6, 9):
        page = send(sandbox, "GET", f"{LIST}?limit=3&offset={offset}", pair=pair).json()
        assert page["meta"]["page"] == {"total_count": 7, "total_filtered_count": 7}
        sizes.append(len(page["data"]))
        ids += [item["id"] for item in page["data"]]
    assert sizes == [3, 3, 1, 0]
    assert sorted(ids) == sorted(connection.id for connection in world.connections(org=pair.org))


def test_a_list_has_rate_limit_headers(sandbox: SandboxServer):
    pair, _ = payments_connection(sandbox)
    headers = send(sandbox, "GET", LIST, pair=pair).headers
    for name in ("Limit", "Period", "Remaining", "Reset"):
        assert headers[f"X-RateLimit-{name}"].isdigit()
    assert headers["X-RateLimit-Name"]


def test_key_checks_return_org_and_permissions(sandbox: SandboxServer):
    pair, _ = payments_connection(sandbox)
    assert send(sandbox, "GET", "/api/v1/validate", pair=pair).json() == {"valid": True}
    assert send(sandbox, "GET", "/api/v2/validate_keys", pair=pair).json() == {"status": "ok"}
    user = send(sandbox, "GET", "/api/v2/current_user", pair=pair).json()
    org_id = user["data"]["relationships"]["org"]["data"]["id"]
    [org] = [item for item in user["included"] if item["type"] == "orgs"]
    names = {item["attributes"]["name"] for item in user["included"] if item["type"] != "roles"}
    assert org["id"] == org_id == pair.org.id
    assert org["attributes"]["public_id"] == pair.org.public_id
    assert {READ, WRITE} <= names


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/validate"),
        ("GET", "/api/v2/validate_keys"),
        ("GET", "/api/v2/current_user"),
        ("GET", LIST),
        ("POST", LIST),
        ("DELETE", f"{LIST}/{ABSENT}"),
        ("PATCH", f"{LIST}/{ABSENT}"),
    ],
)
def test_keys_of_another_site_and_revoked_keys_return_the_same_403(
    sandbox: SandboxServer, method: str, path: str
):
    pair, _ = payments_connection(sandbox)
    elsewhere = send(sandbox, method, path, pair=pair, site=EU)
    sandbox.world.revoke(pair)
    revoked = send(sandbox, method, path, pair=pair)
    assert elsewhere.status_code == revoked.status_code == 403
    assert elsewhere.text == revoked.text == errors("Forbidden")


def test_a_request_without_keys_returns_401(sandbox: SandboxServer):
    response = send(sandbox, "GET", LIST, pair=None)
    assert (response.status_code, response.text) == (401, errors("Unauthorized"))


@pytest.mark.parametrize(
    ("is_revoked", "beside_keys", "status"),
    [(False, False, 200), (True, False, 403), (False, True, 401)],
)
def test_an_access_token_works_until_revoked_and_never_beside_keys(
    sandbox: SandboxServer, is_revoked: bool, beside_keys: bool, status: int
):
    pair, _ = payments_connection(sandbox)
    token = sandbox.world.add_access_token(org=pair.org)
    if is_revoked:
        sandbox.world.revoke(token)
    response = requests.get(
        sandbox.base_urls[US] + LIST,
        headers=(key_headers(pair) if beside_keys else {})
        | {"Authorization": f"Bearer {token.access_token}"},
        timeout=PATIENCE,
    )
    assert response.status_code == status
    assert [request.org for request in sandbox.world.requests()] == [
        None if is_revoked else pair.org.id
    ]


@pytest.mark.parametrize("is_service_account", [True, False])
def test_the_owner_of_the_keys_creates_a_connection_and_stays_its_creator(
    sandbox: SandboxServer, *, is_service_account: bool
):
    sandbox.world.max_destinations = 2
    source = org_named(sandbox.world, "Payments US")
    owner = make_user(name="Ada Lovelace", service_account=is_service_account)
    pair = sandbox.world.add_key_pair(org=source, user=owner)
    first, second = (sandbox.world.add_org(name=f"Org {one}", site=US) for one in range(2))
    created = send(sandbox, "POST", LIST, pair=pair, body=create_body(first.id, "logs", "rum"))
    document = created.json()["data"]
    assert (created.status_code, document["relationships"]["created_by"]["data"]["id"]) == (
        200,
        owner.id,
    )
    listed = send(sandbox, "GET", LIST, pair=pair).json()
    assert document in listed["data"]
    [listed_owner] = [one for one in listed["included"] if one["id"] == owner.id]
    assert listed_owner["attributes"]["service_account"] is is_service_account
    # Another user changes the data types.
    other = key_pair_of(sandbox.world, "Payments US")
    path = f"{LIST}/{document['id']}"
    changed = send(sandbox, "PATCH", path, pair=other, body=update_body(document["id"], "audit"))
    document["attributes"]["connection_types"] = ["audit"]
    assert changed.status_code == 200
    assert document in send(sandbox, "GET", LIST, pair=pair).json()["data"]
    # A third destination is too many. A connection that is created again has a new ID.
    refused = send(sandbox, "POST", LIST, pair=pair, body=create_body(second.id, "logs"))
    assert (refused.status_code, refused.text) == (
        400,
        errors(f"connection between orgs {source.id} and {second.id} is not allowed"),
    )
    send(sandbox, "DELETE", path, pair=pair)
    again = send(sandbox, "POST", LIST, pair=pair, body=create_body(first.id, "logs")).json()
    assert again["data"]["id"] != document["id"]


def test_only_keys_of_the_source_org_with_permission_change_a_connection(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    path, body = f"{LIST}/{connection_id}", update_body(connection_id, "audit")
    before = sandbox.world.connections()
    sink = key_pair_of(sandbox.world, "Group SOC")
    absent = errors(f"Org connection with id:{connection_id} not found not found")
    response = send(sandbox, "PATCH", path, pair=sink, body=body)
    assert (response.status_code, response.text) == (404, absent)
    for reader in (
        sandbox.world.add_key_pair(org=pair.org, permissions=(READ,)),
        sandbox.world.add_key_pair(org=pair.org, scopes=(READ,)),
    ):
        new = create_body(sandbox.world.add_org(name="Analytics", site=US).id, "logs")
        for method, at, sent in (("POST", LIST, new), ("PATCH", path, body)):
            response = send(sandbox, method, at, pair=reader, body=sent)
            assert (response.status_code, response.text) == (403, errors("Forbidden"))
    assert sandbox.world.connections() == before


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_a_recorded_request_has_the_recorded_response(exchange: Exchange):
    world = World(sites=[US])
    parent = world.add_org(name="Parent", site=US, id=recorded.SOURCE_ORG_ID)
    child = world.add_org(name="Child", site=US, id=recorded.SINK_ORG_ID)
    creator = replace(make_user(name="Dana Keller"), id=recorded.CREATOR_ID)
    pair = world.add_key_pair(org=parent, user=creator)
    if exchange.exists:
        world.add_connection(
            source_org=parent,
            sink_org=child,
            id=recorded.CONNECTION_ID,
            created_by=creator,
            created_at=datetime.fromisoformat(recorded.CREATED_AT),
        )
    body = exchange.data and {"data": exchange.data}
    with SandboxServer(world) as server:
        response = send(server, exchange.method, LIST + exchange.path, pair=pair, body=body)
    expected, received = json.loads(exchange.response), response.json()
    if exchange is recorded.CREATED:
        assert received["data"]["id"] != recorded.CONNECTION_ID
        expected["data"]["id"] = received["data"]["id"]
        expected["data"]["attributes"]["created_at"] = received["data"]["attributes"]["created_at"]
    assert (response.status_code, received) == (int(exchange.status[:3]), expected)


def test_a_connection_to_itself_or_to_another_site_is_refused(sandbox: SandboxServer):
    pair, _ = payments_connection(sandbox)
    world = sandbox.world
    own = f"connection between orgs {pair.org.id} and"
    cases = (
        (pair.org.id, 400, f"{own} {pair.org.id} is not allowed"),
        (org_named(world, "Labs EU").id, 404, "Not found"),
    )
    for sink_id, status, text in cases:
        response = send(sandbox, "POST", LIST, pair=pair, body=create_body(sink_id, "logs"))
        assert (response.status_code, response.text) == (status, errors(text))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{LIST}/{ABSENT}"), ("GET", "/api/v2/orgs"), ("PUT", LIST)]
)
def test_an_unknown_path_or_method_returns_404(sandbox: SandboxServer, method: str, path: str):
    pair, _ = payments_connection(sandbox)
    response = send(sandbox, method, path, pair=pair)
    assert (response.status_code, response.text) == (404, errors("Not found"))


def managed_names(sandbox: SandboxServer, org: str, query: str = "") -> list[str]:
    """The names in the list of managed orgs that this org's keys get."""
    pair = key_pair_of(sandbox.world, org)
    document = send(sandbox, "GET", MANAGED_ORGS + query, pair=pair).json()
    relations = document["data"]["relationships"]
    assert relations["current_org"]["data"]["id"] == pair.org.id
    names = {item["id"]: item["attributes"]["name"] for item in document["included"]}
    return [names[item["id"]] for item in relations["managed_orgs"]["data"]]


def test_a_parent_org_lists_itself_and_the_orgs_it_manages(sandbox: SandboxServer):
    world = sandbox.world
    world.set_parent(org=org_named(world, "Payments US"), parent=org_named(world, "Group SOC"))
    assert managed_names(sandbox, "Group SOC") == ["Group SOC", "Payments US"]
    assert managed_names(sandbox, "Group SOC", "?filter[name]=Ledger") == ["Group SOC"]
