"""Listings that contradict themselves or are not strict JSON: none of them is complete."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from connections import datadog
from connections.core.causes import Cause
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import ConnectionList, PayloadError, parse_json
from connections.datadog.responses import AttemptResult, DatadogError
from tests.datadog.actions import delete_against
from tests.datadog.servers import ScriptedServer, http_response, json_response, key_pair, respond
from tests.datadog.test_identity import USER, send_request
from tests.datadog.test_listing import INCLUDED, element, page

COUNTS = '{"page":{"total_count":0,"total_filtered_count":0}}'
ONE_LISTED = json.dumps(page([1], total=1))[1:-1]
DEEP = "[" * 100_000 + "]" * 100_000


def with_errors(errors: Any) -> str:
    return json.dumps(page([], total=0, errors=errors))


def with_counts(total_count: Any, total_filtered_count: int) -> str:
    counts = {"total_count": total_count, "total_filtered_count": total_filtered_count}
    return json.dumps({"data": [], "meta": {"page": counts}})


def with_value(text: str) -> str:
    return f'{{"data":[],"meta":{COUNTS},"more":{text}}}'


def with_two_contents(**attributes: Any) -> str:
    document = page([1], total=1)
    document["data"].append(element(1, **attributes))
    return json.dumps(document)


def with_two_names() -> str:
    document = page([1, 1], total=1)
    document["data"][1]["relationships"]["source_org"]["data"]["name"] = "Another"
    return json.dumps(document)


def with_id_twice() -> str:
    one = json.dumps(element(1)).replace('"id": "0000', f'"id": "{element(2)["id"]}", "id": "0000')
    return f'{{"data":[{one}],"meta":{COUNTS.replace("0", "1")}}}'


def list_against(body: str | bytes) -> ConnectionList | DatadogError:
    """The result of listing from a server that always responds 200 with this body."""
    data = body if isinstance(body, bytes) else body.encode()
    with ScriptedServer([respond(http_response(body=data))]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        try:
            return client.list_org_connections(page_size=1000, deadline_seconds=5)
        except DatadogError as error:
            return error


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        pytest.param(with_errors(["Forbidden"]), Cause.ERRORS_IN_RESPONSE, id="errors, a list"),
        pytest.param(with_errors("Forbidden"), Cause.ERRORS_IN_RESPONSE, id="errors, a string"),
        pytest.param(
            with_errors({"detail": "Forbidden"}), Cause.ERRORS_IN_RESPONSE, id="errors, an object"
        ),
        pytest.param(with_errors([None]), Cause.ERRORS_IN_RESPONSE, id="errors without text"),
        pytest.param(with_counts(1, 0), Cause.COUNTS_DIFFER, id="more in total"),
        pytest.param(with_counts("0", 0), Cause.COUNTS_DIFFER, id="a total as text"),
        pytest.param(with_value("NaN"), Cause.MALFORMED_JSON, id="NaN"),
        pytest.param(with_value("Infinity"), Cause.MALFORMED_JSON, id="Infinity"),
        pytest.param(with_value("-Infinity"), Cause.MALFORMED_JSON, id="-Infinity"),
        pytest.param(
            f'{{{ONE_LISTED},"data":[],"meta":{COUNTS}}}', Cause.MALFORMED_JSON, id="data twice"
        ),
        pytest.param(with_id_twice(), Cause.MALFORMED_JSON, id="id twice"),
        pytest.param(
            f'{{"data":[],"meta":{{"page":{{"total_filtered_count":1}}}},"meta":{COUNTS}}}',
            Cause.MALFORMED_JSON,
            id="meta twice",
        ),
        pytest.param(
            '{"data":[],"meta":{"page":{"total_filtered_count":1,"total_filtered_count":0}}}',
            Cause.MALFORMED_JSON,
            id="a count twice",
        ),
        pytest.param(
            f'{{{ONE_LISTED},"\\u0064ata":[],"m\\u0065ta":{COUNTS}}}',
            Cause.MALFORMED_JSON,
            id="data twice, once escaped",
        ),
        pytest.param(
            with_two_contents(connection_types=["audit"]),
            Cause.CONTRADICTORY_ELEMENTS,
            id="one id with two lists of types",
        ),
        pytest.param(
            with_two_names(), Cause.CONTRADICTORY_ELEMENTS, id="one id with two names of an org"
        ),
        pytest.param(
            with_two_contents(created_at="2026-01-01T00:00:00Z"),
            Cause.CONTRADICTORY_ELEMENTS,
            id="one id created twice",
        ),
    ],
)
def test_a_listing_that_contradicts_itself_is_not_complete(body: str, cause: Cause):
    outcome = list_against(body)
    assert outcome.cause == cause
    assert outcome.http_status == 200
    if isinstance(outcome, ConnectionList):
        assert not outcome.is_complete
        assert outcome.org_connections == ()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(with_value("1e999"), id="a number that only Infinity can hold"),
        pytest.param(with_value("1" * 5_000), id="a number of 5,000 digits"),
        pytest.param(with_value(DEEP), id="lists in lists"),
        pytest.param(with_value('{"a":' * 100_000 + "1" + "}" * 100_000), id="objects in objects"),
        pytest.param(with_value("1").encode("utf-16"), id="UTF-16"),
        pytest.param(with_value('"\xff"').encode("latin-1"), id="invalid UTF-8"),
        pytest.param(b'{"data":[],"x":"\xed\xa0\x80"}', id="half a surrogate pair"),
        pytest.param(with_value("1") + "{}", id="two documents"),
    ],
)
def test_a_body_that_is_not_strict_json_has_a_cause(body: str | bytes):
    outcome = list_against(body)
    assert isinstance(outcome, DatadogError)
    assert outcome.cause is Cause.MALFORMED_JSON


@pytest.mark.parametrize("total", [10**4_000, -1, 1.0, True])
def test_an_unusable_count_leaves_the_listing_incomplete(total: Any):
    document = page([1], total=1)
    document["meta"]["page"] = {"total_count": total, "total_filtered_count": total}
    outcome = list_against(json.dumps(document))
    assert isinstance(outcome, ConnectionList)
    assert not outcome.is_complete


@pytest.mark.parametrize("errors", [[], "", {}, None])
def test_empty_errors_contradict_nothing(errors: Any):
    outcome = list_against(json.dumps(page([1], total=1, errors=errors)))
    assert isinstance(outcome, ConnectionList)
    assert outcome.is_complete


def test_a_missing_total_count_contradicts_nothing():
    document = page([1], total=1)
    del document["meta"]["page"]["total_count"]
    outcome = list_against(json.dumps(document))
    assert isinstance(outcome, ConnectionList)
    assert outcome.is_complete


def test_the_same_content_twice_under_one_id_is_one_connection():
    outcome = list_against(json.dumps(page([1, 1], total=1)))
    assert isinstance(outcome, ConnectionList)
    assert outcome.is_complete


def test_errors_on_a_later_page_are_kept_with_the_connections_received():
    pages = [page([1], total=2), page([2], total=2, errors=[{"title": "Partial result"}])]
    with ScriptedServer([respond(json_response(each)) for each in pages]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        listing = client.list_org_connections(page_size=1)
    assert (listing.is_complete, listing.cause) == (False, Cause.ERRORS_IN_RESPONSE)
    assert listing.errors == ("Partial result",)
    assert len(listing.org_connections) == 2


def test_two_contents_on_two_pages_also_contradict_each_other():
    pages = [page([1], total=2), page([], total=2)]
    pages[1]["data"] = [element(1, connection_types=["audit"])]
    with ScriptedServer([respond(json_response(each)) for each in pages]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        listing = client.list_org_connections(page_size=1)
    assert (listing.is_complete, listing.cause) == (False, Cause.CONTRADICTORY_ELEMENTS)


def test_errors_in_place_of_the_list_are_reported_as_errors():
    outcome = list_against('{"errors":["Service degraded"]}')
    assert isinstance(outcome, DatadogError)
    assert (outcome.cause, outcome.errors) == (Cause.ERRORS_IN_RESPONSE, ("Service degraded",))


def test_an_org_that_is_included_with_two_names_is_a_contradiction():
    another = {"type": "orgs", "id": "org-2", "attributes": {"name": "Another"}}
    outcome = list_against(json.dumps(page([1], total=1, included=[*INCLUDED, another])))
    assert isinstance(outcome, ConnectionList)
    assert outcome.cause is Cause.CONTRADICTORY_ELEMENTS
    with pytest.raises(DatadogError) as caught:
        send_request(
            "whoami", json_response({**USER, "included": [*USER["included"], org_1_again()]})
        )
    assert caught.value.cause is Cause.WRONG_TYPE


def org_1_again() -> dict[str, Any]:
    return {"type": "orgs", "id": "org-1", "attributes": {"name": "Another"}}


@pytest.mark.parametrize(
    ("call", "document"),
    [
        ("whoami", USER),
        ("validate_api_key", {"valid": True}),
        ("validate_key_pair", {"status": "ok"}),
    ],
)
def test_every_endpoint_parses_as_strictly(call: str, document: dict[str, Any]):
    whole = json.dumps(document)
    first = json.dumps(next(iter(document)))
    for body, cause in (
        (f"{{{first}:0,{whole[1:]}", Cause.MALFORMED_JSON),
        (whole[:-1] + ',"x":NaN}', Cause.MALFORMED_JSON),
        (whole[:-1] + ',"errors":["Forbidden"]}', Cause.ERRORS_IN_RESPONSE),
    ):
        with pytest.raises(DatadogError) as caught:
            send_request(call, http_response(body=body.encode()))
        assert caught.value.cause is cause


@pytest.mark.parametrize(
    "body", ['{"errors":[],"errors":["x"]}', '{"errors":["x"],"x":NaN}', f'{{"errors":{DEEP}}}']
)
def test_a_404_that_is_not_strict_json_does_not_prove_absence(body: str):
    outcome = delete_against(respond(http_response("404 Not Found", body.encode())))
    assert (outcome.verdict, outcome.cause) == (AttemptResult.AMBIGUOUS, Cause.WRONG_404)


RECORDED = (
    '{"data":[{"type":"org_connection","id":"5f1a0c3e-8b7d-4c2a-9e6f-0123456789ab",'
    '"attributes":{"connection_types":["logs"],"created_at":"2025-08-26T20:19:35.554634+00:00"},'
    '"relationships":{"source_org":{"data":{"type":"orgs","id":"org-1","name":"Parent"}},'
    '"sink_org":{"data":{"type":"orgs","id":"org-2","name":"Child"}},'
    '"created_by":{"data":{"type":"users","id":"user-1","name":"Dana"}}}}],'
    '"included":[{"type":"orgs","id":"org-1","attributes":{"name":"Parent"}},'
    '{"type":"orgs","id":"org-2","attributes":{"name":"Child"}}],'
    '"meta":{"page":{"total_count":1,"total_filtered_count":1}}}'
)


@pytest.mark.parametrize(
    ("body", "count"), [(RECORDED, 1), (f'{{"data":[],"meta":{COUNTS}}}\n', 0)], ids=["one", "none"]
)
def test_a_recorded_list_is_complete(body: str, count: int):
    outcome = list_against(body)
    assert isinstance(outcome, ConnectionList)
    assert (outcome.is_complete, outcome.cause, len(outcome.org_connections)) == (True, None, count)


def test_only_the_strict_parser_reads_json():
    """Only payloads.py uses `json` and the `.json()` of requests."""
    package = Path(datadog.__file__).parent
    lenient = re.compile(r"^\s*(?:import|from) \w*json\b|\.json\(", re.MULTILINE)
    found = [path.name for path in package.rglob("*.py") if lenient.search(path.read_text())]
    assert found == ["payloads.py"]


def test_the_parser_accepts_what_datadog_sends():
    assert parse_json('{"a": [1, 2.5, null, true, "ü\\ud83d\\ude00"]}'.encode()) == {
        "a": [1, 2.5, None, True, "ü😀"]
    }
    with pytest.raises(PayloadError):
        parse_json(b"")
