"""Without faults the simulator responds exactly as Datadog does."""

import pytest
import requests

from sandbox.entities import MANAGE_ORGS, READ, WRITE
from sandbox.server import SandboxServer
from tests.sandbox.client import (
    LIST,
    MANAGED_ORGS,
    create_body,
    payments_connection,
    send,
    update_body,
)
from tests.support.processes import PATIENCE
from tests.support.sandbox import EU, US, connection_between, key_headers, key_pair_of, org_named

ABSENT = "2f1a6a52-54c4-4b0e-9d0c-3a1f2b7c9e10"


def errors(text: str) -> str:
    return f'{{"errors":["{text}"]}}\n'


def test_delete_returns_an_empty_object_and_a_newline(sandbox: SandboxServer) -> None:
    pair, connection_id = payments_connection(sandbox)
    response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert (response.status_code, response.text) == (200, "{}\n")
    assert response.headers["Content-Type"] == "application/json"


def test_a_second_delete_returns_404_and_says_not_found_twice(sandbox: SandboxServer) -> None:
    pair, connection_id = payments_connection(sandbox)
    send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert response.status_code == 404
    assert response.text == errors(f"org connection with id:{connection_id} not found not found")
    assert sandbox.world.deletes_received(connection_id) == 2
    assert sandbox.world.deletes_executed(connection_id) == 1


@pytest.mark.parametrize("bad", ["1234", "z" * 36, f"{{{ABSENT}}}", "..%2F..%2Fv2%2Forg"])
def test_a_malformed_id_returns_400(sandbox: SandboxServer, bad: str) -> None:
    pair, _ = payments_connection(sandbox)
    response = send(sandbox, "DELETE", f"{LIST}/{bad}", pair=pair)
    assert (response.status_code, response.text) == (
        400,
        errors("connection id must be a valid uuid"),
    )


def test_the_sink_org_can_delete_too(sandbox: SandboxServer) -> None:
    _, connection_id = payments_connection(sandbox)
    soc = key_pair_of(sandbox.world, "Group SOC")
    assert send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=soc).status_code == 200
    payments = key_pair_of(sandbox.world, "Payments US")
    left = send(sandbox, "GET", LIST, pair=payments).json()["data"]
    assert connection_id not in [one["id"] for one in left]


def test_an_org_that_is_neither_source_nor_sink_gets_404(sandbox: SandboxServer) -> None:
    other = sandbox.world.add_key_pair(org=sandbox.world.add_org(name="Other", site=US))
    _, connection_id = payments_connection(sandbox)
    response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=other)
    assert response.status_code == 404
    assert sandbox.world.connection(connection_id=connection_id) is not None


def test_source_and_sink_org_list_the_same_connection(sandbox: SandboxServer) -> None:
    world = sandbox.world
    listings = [
        send(sandbox, "GET", LIST, pair=key_pair_of(world, name)).json()["data"]
        for name in ("Payments US", "Group SOC")
    ]
    assert listings[0] == listings[1]
    assert len(listings[0]) == 2


def test_a_connection_object_has_the_recorded_shape(sandbox: SandboxServer) -> None:
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


def test_an_empty_list_has_no_included(sandbox: SandboxServer) -> None:
    alone = sandbox.world.add_key_pair(org=sandbox.world.add_org(name="Alone", site=US))
    response = send(sandbox, "GET", LIST, pair=alone)
    assert response.json() == {
        "data": [],
        "meta": {"page": {"total_count": 0, "total_filtered_count": 0}},
    }


def test_limit_and_offset_select_a_page_and_do_not_change_the_totals(
    sandbox: SandboxServer,
) -> None:
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


def test_the_default_limit_is_1000(sandbox: SandboxServer) -> None:
    pair, _ = payments_connection(sandbox)
    sink = org_named(sandbox.world, "Group SOC")
    for _number in range(1000):
        sandbox.world.add_connection(source_org=pair.org, sink_org=sink)
    page = send(sandbox, "GET", LIST, pair=pair).json()
    assert len(page["data"]) == 1000
    assert page["meta"]["page"]["total_count"] == 1002


@pytest.mark.parametrize("side", ["source_org", "sink_org"])
def test_a_filter_by_org_changes_only_the_filtered_total(sandbox: SandboxServer, side: str) -> None:
    pair, _ = payments_connection(sandbox)
    page = send(sandbox, "GET", f"{LIST}?{side}_id={pair.org.id}", pair=pair).json()
    assert page["meta"]["page"] == {"total_count": 2, "total_filtered_count": 1}
    [found] = page["data"]
    assert found["relationships"][side]["data"]["name"] == "Payments US"


def test_included_says_whether_the_creator_is_disabled_or_a_service_account(
    sandbox: SandboxServer,
) -> None:
    pair, _ = payments_connection(sandbox)
    included = send(sandbox, "GET", LIST, pair=pair).json()["included"]
    [user] = [item["attributes"] for item in included if item["type"] == "users"]
    assert (user["service_account"], user["disabled"]) == (False, False)
    assert user["email"] == "dana.keller@example.com"


def test_a_list_has_rate_limit_headers(sandbox: SandboxServer) -> None:
    pair, _ = payments_connection(sandbox)
    headers = send(sandbox, "GET", LIST, pair=pair).headers
    for name in ("Limit", "Period", "Remaining", "Reset"):
        assert headers[f"X-RateLimit-{name}"].isdigit()
    assert headers["X-RateLimit-Name"]


def test_key_checks_return_org_and_permissions(sandbox: SandboxServer) -> None:
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
) -> None:
    pair, _ = payments_connection(sandbox)
    elsewhere = send(sandbox, method, path, pair=pair, site=EU)
    sandbox.world.revoke(pair)
    revoked = send(sandbox, method, path, pair=pair)
    assert elsewhere.status_code == revoked.status_code == 403
    assert elsewhere.text == revoked.text == errors("Forbidden")


def test_a_request_without_keys_returns_401(sandbox: SandboxServer) -> None:
    response = send(sandbox, "GET", LIST, pair=None)
    assert (response.status_code, response.text) == (401, errors("Unauthorized"))


def test_keys_of_two_orgs_are_refused(sandbox: SandboxServer) -> None:
    world = sandbox.world
    soc = key_pair_of(world, "Group SOC")
    mixed = world.add_key_pair(org=org_named(world, "Payments US"))
    half = world.add_key_pair(org=soc.org, api_key=mixed.api_key)
    assert send(sandbox, "GET", "/api/v2/validate_keys", pair=half).status_code == 403


@pytest.mark.parametrize(
    ("is_revoked", "beside_keys", "status"),
    [(False, False, 200), (True, False, 403), (False, True, 401)],
)
def test_an_access_token_works_until_revoked_and_never_beside_keys(
    sandbox: SandboxServer, is_revoked: bool, beside_keys: bool, status: int
) -> None:
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


@pytest.mark.parametrize("restricted_by", ["role", "scope"])
def test_read_only_keys_can_list_but_not_delete(sandbox: SandboxServer, restricted_by: str) -> None:
    payments, connection_id = payments_connection(sandbox)
    reader = sandbox.world.add_key_pair(
        org=payments.org,
        permissions=(READ,) if restricted_by == "role" else (READ, WRITE),
        scopes=None if restricted_by == "role" else (READ,),
    )
    assert send(sandbox, "GET", LIST, pair=reader).status_code == 200
    assert send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=reader).status_code == 403
    assert sandbox.world.deletes_executed(connection_id) == 0


def test_create_returns_200_and_the_connection_is_listed(sandbox: SandboxServer) -> None:
    pair, _ = payments_connection(sandbox)
    sink = sandbox.world.add_org(name="Analytics", site=US)
    response = send(sandbox, "POST", LIST, pair=pair, body=create_body(sink.id, "logs", "rum"))
    assert response.status_code == 200
    listed = send(sandbox, "GET", LIST, pair=pair).json()["data"]
    assert response.json()["data"] in listed


def test_a_refused_create_returns_datadogs_error_text(sandbox: SandboxServer) -> None:
    pair, _ = payments_connection(sandbox)
    world = sandbox.world
    soc, labs = org_named(world, "Group SOC"), org_named(world, "Labs EU")
    own = f"connection between orgs {pair.org.id} and"
    cases = (
        (soc.id, 409, f"{own} {soc.id} already exists"),
        (pair.org.id, 400, f"{own} {pair.org.id} is not allowed"),
        (labs.id, 404, "Not found"),
        (ABSENT, 404, "Not found"),
    )
    for sink_id, status, text in cases:
        response = send(sandbox, "POST", LIST, pair=pair, body=create_body(sink_id, "logs"))
        assert (response.status_code, response.text) == (status, errors(text))


def test_a_sixth_destination_is_not_allowed(sandbox: SandboxServer) -> None:
    pair, _ = payments_connection(sandbox)
    statuses = []
    for number in range(5):
        sink = sandbox.world.add_org(name=f"Sink {number}", site=US)
        response = send(sandbox, "POST", LIST, pair=pair, body=create_body(sink.id, "logs"))
        statuses.append(response.status_code)
    assert statuses == [200, 200, 200, 200, 400]


def test_update_returns_ids_without_names(sandbox: SandboxServer) -> None:
    pair, connection_id = payments_connection(sandbox)
    body = update_body(connection_id, "audit")
    response = send(sandbox, "PATCH", f"{LIST}/{connection_id}", pair=pair, body=body)
    assert response.status_code == 200
    assert response.json()["data"]["attributes"]["connection_types"] == ["audit"]
    assert "name" not in response.json()["data"]["relationships"]["sink_org"]["data"]


def test_only_the_source_org_can_update(sandbox: SandboxServer) -> None:
    _, connection_id = payments_connection(sandbox)
    soc = key_pair_of(sandbox.world, "Group SOC")
    body = update_body(connection_id, "audit")
    assert send(sandbox, "PATCH", f"{LIST}/{connection_id}", pair=soc, body=body).status_code == 404


@pytest.mark.parametrize("types", [(), ("logs", "logs")])
def test_update_without_types_or_with_duplicate_types_returns_400(
    sandbox: SandboxServer, types: tuple[str, ...]
) -> None:
    pair, connection_id = payments_connection(sandbox)
    body = update_body(connection_id, *types)
    response = send(sandbox, "PATCH", f"{LIST}/{connection_id}", pair=pair, body=body)
    assert (response.status_code, response.text) == (400, errors("Validation failed for input."))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{LIST}/{ABSENT}"), ("GET", "/api/v2/orgs"), ("PUT", LIST)]
)
def test_an_unknown_path_or_method_returns_404(
    sandbox: SandboxServer, method: str, path: str
) -> None:
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


def test_a_parent_org_lists_itself_and_the_orgs_it_manages(sandbox: SandboxServer) -> None:
    world = sandbox.world
    world.set_parent(org=org_named(world, "Payments US"), parent=org_named(world, "Group SOC"))
    assert managed_names(sandbox, "Group SOC") == ["Group SOC", "Payments US"]
    assert managed_names(sandbox, "Group SOC", "?filter[name]=Ledger") == ["Group SOC"]


def test_an_ordinary_org_lists_only_itself(sandbox: SandboxServer) -> None:
    assert managed_names(sandbox, "Payments US") == ["Payments US"]


@pytest.mark.parametrize(
    ("permissions", "status"), [((READ,), 403), ((MANAGE_ORGS,), 200), ((WRITE,), 200)]
)
def test_managed_orgs_need_one_of_two_permissions(
    sandbox: SandboxServer, permissions: tuple[str, ...], status: int
) -> None:
    org = org_named(sandbox.world, "Payments US")
    pair = sandbox.world.add_key_pair(org=org, permissions=permissions)
    assert send(sandbox, "GET", MANAGED_ORGS, pair=pair).status_code == status
