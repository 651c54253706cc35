"""Without faults the sandbox answers word for word as Datadog does."""

import pytest

from sandbox.server import SandboxServer
from sandbox.world import READ, WRITE
from tests.sandbox.client import LIST, ask, change, new_connection, to_payments
from tests.support.sandbox import EU, US, connection_between, key_pair_of, org_named

ABSENT = "2f1a6a52-54c4-4b0e-9d0c-3a1f2b7c9e10"


def errors(text: str) -> str:
    return f'{{"errors":["{text}"]}}\n'


def test_a_deletion_answers_an_empty_object_and_a_newline(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    answer = ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert (answer.status_code, answer.text) == (200, "{}\n")
    assert answer.headers["Content-Type"] == "application/json"


def test_a_second_deletion_answers_404_with_the_doubled_words(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    answer = ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    assert answer.status_code == 404
    assert answer.text == errors(f"org connection with id:{connection_id} not found not found")
    assert sandbox.world.deletes_received(connection_id) == 2
    assert sandbox.world.deletes_executed(connection_id) == 1


@pytest.mark.parametrize("bad", ["1234", "z" * 36, f"{{{ABSENT}}}", "..%2F..%2Fv2%2Forg"])
def test_a_malformed_id_answers_400(sandbox: SandboxServer, bad: str) -> None:
    pair, _ = to_payments(sandbox)
    answer = ask(sandbox, "DELETE", f"{LIST}/{bad}", pair=pair)
    assert (answer.status_code, answer.text) == (400, errors("connection id must be a valid uuid"))


def test_the_other_end_may_delete_as_well(sandbox: SandboxServer) -> None:
    _, connection_id = to_payments(sandbox)
    soc = key_pair_of(sandbox.world, "Group SOC")
    assert ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=soc).status_code == 200
    payments = key_pair_of(sandbox.world, "Payments US")
    left = ask(sandbox, "GET", LIST, pair=payments).json()["data"]
    assert connection_id not in [one["id"] for one in left]


def test_an_org_that_takes_no_part_finds_nothing_to_delete(sandbox: SandboxServer) -> None:
    stranger = sandbox.world.add_key_pair(org=sandbox.world.add_org(name="Stranger", site=US))
    _, connection_id = to_payments(sandbox)
    answer = ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=stranger)
    assert answer.status_code == 404
    assert sandbox.world.connection(connection_id=connection_id) is not None


def test_both_ends_list_the_same_connection(sandbox: SandboxServer) -> None:
    world = sandbox.world
    listings = [
        ask(sandbox, "GET", LIST, pair=key_pair_of(world, name)).json()["data"]
        for name in ("Payments US", "Group SOC")
    ]
    assert listings[0] == listings[1]
    assert len(listings[0]) == 2


def test_an_object_has_the_recorded_shape(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    listed = ask(sandbox, "GET", LIST, pair=pair).json()["data"][0]
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


def test_an_empty_listing_has_no_included(sandbox: SandboxServer) -> None:
    alone = sandbox.world.add_key_pair(org=sandbox.world.add_org(name="Alone", site=US))
    answer = ask(sandbox, "GET", LIST, pair=alone)
    assert answer.json() == {
        "data": [],
        "meta": {"page": {"total_count": 0, "total_filtered_count": 0}},
    }


def test_pages_follow_limit_and_offset_and_count_everything(sandbox: SandboxServer) -> None:
    world = sandbox.world
    pair, _ = to_payments(sandbox)
    for number in range(5):
        sink = world.add_org(name=f"Sink {number}", site=US)
        world.add_connection(source_org=pair.org, sink_org=sink)
    seen: list[str] = []
    sizes = []
    for offset in (0, 3, 6, 9):
        page = ask(sandbox, "GET", f"{LIST}?limit=3&offset={offset}", pair=pair).json()
        assert page["meta"]["page"] == {"total_count": 7, "total_filtered_count": 7}
        sizes.append(len(page["data"]))
        seen += [one["id"] for one in page["data"]]
    assert sizes == [3, 3, 1, 0]
    assert sorted(seen) == sorted(one.id for one in world.connections(org=pair.org))


def test_a_page_holds_a_thousand_unless_told_otherwise(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
    sink = org_named(sandbox.world, "Group SOC")
    for _number in range(1000):
        sandbox.world.add_connection(source_org=pair.org, sink_org=sink)
    page = ask(sandbox, "GET", LIST, pair=pair).json()
    assert len(page["data"]) == 1000
    assert page["meta"]["page"]["total_count"] == 1002


@pytest.mark.parametrize("end", ["source_org", "sink_org"])
def test_a_filter_by_org_counts_what_it_lets_through(sandbox: SandboxServer, end: str) -> None:
    pair, _ = to_payments(sandbox)
    page = ask(sandbox, "GET", f"{LIST}?{end}_id={pair.org.id}", pair=pair).json()
    assert page["meta"]["page"] == {"total_count": 2, "total_filtered_count": 1}
    [found] = page["data"]
    assert found["relationships"][end]["data"]["name"] == "Payments US"


def test_included_tells_of_a_creator_that_is_disabled_or_a_service_account(
    sandbox: SandboxServer,
) -> None:
    pair, _ = to_payments(sandbox)
    included = ask(sandbox, "GET", LIST, pair=pair).json()["included"]
    [user] = [one["attributes"] for one in included if one["type"] == "users"]
    assert (user["service_account"], user["disabled"]) == (False, False)
    assert user["email"] == "dana.keller@example.com"


def test_rate_limit_headers_come_with_every_listing(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
    headers = ask(sandbox, "GET", LIST, pair=pair).headers
    for name in ("Limit", "Period", "Remaining", "Reset"):
        assert headers[f"X-RateLimit-{name}"].isdigit()
    assert headers["X-RateLimit-Name"]


def test_the_ladder_tells_org_and_permissions(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
    assert ask(sandbox, "GET", "/api/v1/validate", pair=pair).json() == {"valid": True}
    assert ask(sandbox, "GET", "/api/v2/validate_keys", pair=pair).json() == {"status": "ok"}
    whoami = ask(sandbox, "GET", "/api/v2/current_user", pair=pair).json()
    org_id = whoami["data"]["relationships"]["org"]["data"]["id"]
    [org] = [one for one in whoami["included"] if one["type"] == "orgs"]
    names = {one["attributes"]["name"] for one in whoami["included"] if one["type"] != "roles"}
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
def test_a_key_of_another_site_and_a_revoked_one_answer_403_alike(
    sandbox: SandboxServer, method: str, path: str
) -> None:
    pair, _ = to_payments(sandbox)
    elsewhere = ask(sandbox, method, path, pair=pair, site=EU)
    sandbox.world.revoke(pair)
    revoked = ask(sandbox, method, path, pair=pair)
    assert elsewhere.status_code == revoked.status_code == 403
    assert elsewhere.text == revoked.text == errors("Forbidden")


def test_no_keys_answer_401(sandbox: SandboxServer) -> None:
    answer = ask(sandbox, "GET", LIST, pair=None)
    assert (answer.status_code, answer.text) == (401, errors("Unauthorized"))


def test_keys_of_two_orgs_are_no_pair(sandbox: SandboxServer) -> None:
    world = sandbox.world
    soc = key_pair_of(world, "Group SOC")
    mixed = world.add_key_pair(org=org_named(world, "Payments US"))
    half = world.add_key_pair(org=soc.org, api_key=mixed.api_key)
    assert ask(sandbox, "GET", "/api/v2/validate_keys", pair=half).status_code == 403


@pytest.mark.parametrize("narrowed_by", ["role", "scope"])
def test_a_pair_that_may_only_read_lists_and_deletes_nothing(
    sandbox: SandboxServer, narrowed_by: str
) -> None:
    payments, connection_id = to_payments(sandbox)
    reader = sandbox.world.add_key_pair(
        org=payments.org,
        permissions=(READ,) if narrowed_by == "role" else (READ, WRITE),
        scopes=None if narrowed_by == "role" else (READ,),
    )
    assert ask(sandbox, "GET", LIST, pair=reader).status_code == 200
    assert ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=reader).status_code == 403
    assert sandbox.world.deletes_executed(connection_id) == 0


def test_a_creation_answers_200_and_stands_in_the_listing(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
    sink = sandbox.world.add_org(name="Analytics", site=US)
    answer = ask(sandbox, "POST", LIST, pair=pair, body=new_connection(sink.id, "logs", "rum"))
    assert answer.status_code == 200
    listed = ask(sandbox, "GET", LIST, pair=pair).json()["data"]
    assert answer.json()["data"] in listed


def test_a_creation_is_refused_in_datadogs_words(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
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
        answer = ask(sandbox, "POST", LIST, pair=pair, body=new_connection(sink_id, "logs"))
        assert (answer.status_code, answer.text) == (status, errors(text))


def test_a_sixth_destination_is_not_allowed(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
    statuses = []
    for number in range(5):
        sink = sandbox.world.add_org(name=f"Sink {number}", site=US)
        answer = ask(sandbox, "POST", LIST, pair=pair, body=new_connection(sink.id, "logs"))
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 200, 200, 400]


def test_a_change_carries_ids_without_names(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    body = change(connection_id, "audit")
    answer = ask(sandbox, "PATCH", f"{LIST}/{connection_id}", pair=pair, body=body)
    assert answer.status_code == 200
    assert answer.json()["data"]["attributes"]["connection_types"] == ["audit"]
    assert "name" not in answer.json()["data"]["relationships"]["sink_org"]["data"]


def test_a_change_comes_from_the_source_org_only(sandbox: SandboxServer) -> None:
    _, connection_id = to_payments(sandbox)
    soc = key_pair_of(sandbox.world, "Group SOC")
    body = change(connection_id, "audit")
    assert ask(sandbox, "PATCH", f"{LIST}/{connection_id}", pair=soc, body=body).status_code == 404


@pytest.mark.parametrize("types", [(), ("logs", "logs")])
def test_a_change_without_or_with_doubled_types_is_no_valid_input(
    sandbox: SandboxServer, types: tuple[str, ...]
) -> None:
    pair, connection_id = to_payments(sandbox)
    body = change(connection_id, *types)
    answer = ask(sandbox, "PATCH", f"{LIST}/{connection_id}", pair=pair, body=body)
    assert (answer.status_code, answer.text) == (400, errors("Validation failed for input."))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"{LIST}/{ABSENT}"), ("GET", "/api/v2/org"), ("PUT", LIST)]
)
def test_what_datadog_does_not_offer_is_not_found(
    sandbox: SandboxServer, method: str, path: str
) -> None:
    pair, _ = to_payments(sandbox)
    answer = ask(sandbox, method, path, pair=pair)
    assert (answer.status_code, answer.text) == (404, errors("Not found"))
