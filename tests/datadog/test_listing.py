"""Reads every page of a listing, and detects incomplete ones."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connections.core.causes import Cause
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import ConnectionList, Creator, ListedOrg
from connections.datadog.responses import DatadogError
from tests.datadog.servers import (
    Play,
    ScriptedServer,
    gzip_response,
    http_response,
    json_response,
    key_pair,
    respond,
    respond_and_close,
    respond_and_reset,
    respond_and_wait,
)

EMAIL = "person@example.com"
HANDLE = "the-handle"


def element(number: int, **attributes: Any) -> dict[str, Any]:
    return {
        "type": "org_connection",
        "id": f"00000000-0000-0000-0000-{number:012d}",
        "attributes": {
            "connection_types": ["logs", "metrics"],
            "created_at": "2025-08-26T20:19:35.554634+02:00",
        }
        | attributes,
        "relationships": {
            "source_org": {"data": {"type": "orgs", "id": "org-1", "name": "Parent"}},
            "sink_org": {"data": {"type": "orgs", "id": "org-2"}},
            "created_by": {"data": {"type": "users", "id": "user-1", "name": "Ann"}},
        },
    }


INCLUDED = [
    {"type": "orgs", "id": "org-2", "attributes": {"name": "Child", "public_id": "abc"}},
    {
        "type": "users",
        "id": "user-1",
        "attributes": {
            "name": "Ann",
            "email": EMAIL,
            "handle": HANDLE,
            "disabled": True,
            "service_account": False,
        },
    },
]


def page(numbers: Sequence[int], *, total: int | None, **more: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"data": [element(number) for number in numbers], **more}
    if total is not None:
        document["meta"] = {"page": {"total_count": total, "total_filtered_count": total}}
    return document


def list_against(
    *plays: Play, page_size: int = 2, requests: int, deadline_seconds: float = 5
) -> ConnectionList:
    """List against a script. The server must receive exactly this many requests."""
    with ScriptedServer(list(plays)) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        try:
            return client.list_org_connections(
                page_size=page_size, deadline_seconds=deadline_seconds
            )
        finally:
            assert len(server.seen) == requests


def numbers_of(listing: ConnectionList) -> list[int]:
    return [int(connection.id[-12:]) for connection in listing.org_connections]


def test_one_page_is_complete_and_read_in_full():
    listing = list_against(
        respond(json_response(page([1], total=1, included=INCLUDED))), requests=1, page_size=1000
    )
    assert listing.is_complete
    assert (listing.cause, listing.http_status) == (None, 200)
    (found,) = listing.org_connections
    assert found.source_org == ListedOrg(id="org-1", name="Parent")
    assert found.sink_org == ListedOrg(id="org-2", name="Child")
    assert found.connection_types == ("logs", "metrics")
    assert found.created_at == datetime(2025, 8, 26, 18, 19, 35, 554634, tzinfo=UTC)
    assert found.created_by == Creator(
        id="user-1", name="Ann", disabled=True, service_account=False
    )


def test_an_empty_list_is_complete_without_included():
    listing = list_against(respond(json_response(page([], total=0))), requests=1)
    assert listing.is_complete
    assert listing.org_connections == ()


def test_a_missing_included_leaves_the_creators_flags_unknown():
    listing = list_against(respond(json_response(page([1], total=1))), requests=1)
    assert listing.is_complete
    (found,) = listing.org_connections
    assert found.sink_org == ListedOrg(id="org-2", name="")
    assert (found.created_by.disabled, found.created_by.service_account) == (None, None)


def test_pages_are_requested_with_limit_and_offset_only():
    plays = [
        respond(json_response(page([1, 2], total=5))),
        respond(json_response(page([3, 4], total=5))),
        respond(json_response(page([5], total=5))),
    ]
    with ScriptedServer(plays) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        listing = client.list_org_connections(page_size=2)
    assert listing.is_complete
    assert numbers_of(listing) == [1, 2, 3, 4, 5]
    assert [parse_qs(urlsplit(target).query) for target in server.targets] == [
        {"limit": ["2"], "offset": ["0"]},
        {"limit": ["2"], "offset": ["2"]},
        {"limit": ["2"], "offset": ["4"]},
    ]


def test_the_offset_follows_the_received_rows_if_the_server_caps_the_page():
    listing = list_against(
        respond(json_response(page([1], total=2))),
        respond(json_response(page([2], total=2))),
        page_size=1000,
        requests=2,
    )
    assert listing.is_complete


def test_a_count_that_changes_between_pages_is_not_complete():
    listing = list_against(
        respond(json_response(page([1, 2], total=3))),
        respond(json_response(page([3], total=4))),
        respond(json_response(page([4], total=4))),
        requests=3,
    )
    assert not listing.is_complete
    assert listing.cause is Cause.COUNT_CHANGED
    assert numbers_of(listing) == [1, 2, 3, 4]


def test_the_same_connection_on_two_pages_is_one_and_not_complete():
    listing = list_against(
        respond(json_response(page([1, 2], total=4))),
        respond(json_response(page([2, 3], total=4))),
        requests=2,
    )
    assert (listing.is_complete, listing.cause) == (False, Cause.TOO_FEW)
    assert numbers_of(listing) == [1, 2, 3]


def test_fewer_connections_than_the_count_are_not_complete():
    listing = list_against(
        respond(json_response(page([1, 2], total=3))),
        respond(json_response(page([], total=3))),
        requests=2,
    )
    assert (listing.is_complete, listing.cause) == (False, Cause.TOO_FEW)


def test_more_connections_than_the_count_are_not_complete():
    listing = list_against(respond(json_response(page([1, 2], total=1))), requests=1)
    assert (listing.is_complete, listing.cause) == (False, Cause.TOO_MANY)


@pytest.mark.parametrize("meta", [None, {}, {"page": {"total_filtered_count": True}}, []])
def test_a_missing_count_is_not_complete(meta: Any):
    document = page([1, 2], total=None, meta=meta)
    listing = list_against(
        respond(json_response(document)), respond(json_response(page([], total=None))), requests=2
    )
    assert (listing.is_complete, listing.cause) == (False, Cause.COUNT_MISSING)
    assert numbers_of(listing) == [1, 2]


def test_a_server_that_ignores_the_offset_causes_no_endless_loop():
    listing = list_against(respond(json_response(page([1], total=None))), requests=2)
    assert listing.cause is Cause.COUNT_MISSING


def test_pages_without_end_are_cut_off():
    listing = list_against(
        respond(json_response(page([1], total=1_000_000))), page_size=1, requests=100
    )
    assert (listing.is_complete, listing.cause) == (False, Cause.TOO_MANY_PAGES)


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        None,
        {},
        element(2) | {"id": "../../v2/org"},
        element(2) | {"id": None},
        element(2) | {"relationships": {}},
        element(2)
        | {
            "relationships": {
                name: {"data": {"type": "orgs", "id": "1" * 65}}
                for name in ("source_org", "sink_org")
            }
        },
        element(2, connection_types="logs"),
        element(2, connection_types=[1]),
        element(2) | {"attributes": None},
    ],
)
def test_a_malformed_element_hides_no_other_but_is_not_complete(broken: Any):
    document = page([1, 3], total=3)
    document["data"].insert(1, broken)
    listing = list_against(respond(json_response(document)), requests=1)
    assert (listing.is_complete, listing.cause) == (False, Cause.MALFORMED_ELEMENT)
    assert numbers_of(listing) == [1, 3]


def test_an_unknown_type_is_kept_unchanged():
    document = page([], total=1)
    document["data"] = [element(1, connection_types=["traces-v9", "<b>"])]
    listing = list_against(respond(json_response(document)), requests=1)
    assert listing.is_complete
    assert listing.org_connections[0].connection_types == ("traces-v9", "<b>")


@pytest.mark.parametrize("value", [None, "yesterday", 12, "0001-01-01T00:00:00+14:00"])
def test_an_unparsable_time_is_none(value: Any):
    document = page([], total=1)
    document["data"] = [element(1, created_at=value)]
    listing = list_against(respond(json_response(document)), requests=1)
    assert listing.org_connections[0].created_at is None


def test_an_upper_case_id_is_lowercased():
    document = page([], total=1)
    document["data"] = [element(1) | {"id": "ABCDEF00-0000-0000-0000-00000000000F"}]
    listing = list_against(respond(json_response(document)), requests=1)
    assert listing.org_connections[0].id == "abcdef00-0000-0000-0000-00000000000f"


def test_unstorable_text_is_replaced_and_long_text_is_truncated():
    document = page([1], total=1)
    source = document["data"][0]["relationships"]["source_org"]["data"]
    source["name"] = "a\x00b\ud800" + "c" * 5_000
    listing = list_against(respond(json_response(document)), requests=1)
    name = listing.org_connections[0].source_org.name
    assert name.startswith("a\ufffdb\ufffdccc")
    assert len(name) == 1_000


def test_the_result_contains_no_email_address_or_handle_of_a_person():
    listing = list_against(
        respond(json_response(page([1], total=1, included=INCLUDED))), requests=1
    )
    texts = json.dumps(dataclasses.asdict(listing), default=str) + repr(listing)
    assert "Ann" in texts
    assert EMAIL not in texts
    assert HANDLE not in texts


def test_a_thousand_connections_fit():
    body = json.dumps(page(range(1000), total=1000, included=INCLUDED * 500)).encode()
    listing = list_against(respond(gzip_response(body)), page_size=1000, requests=1)
    assert listing.is_complete
    assert len(listing.org_connections) == 1000


@pytest.mark.parametrize(
    ("play", "cause", "status"),
    [
        (respond(json_response({"errors": ["Forbidden"]}, status="403 F")), Cause.FORBIDDEN, 403),
        (respond(http_response("429 X", b"<html>")), Cause.RATE_LIMITED, 429),
        (respond(http_response(body=b"<html>")), Cause.MALFORMED_JSON, 200),
        (respond(http_response(body=b"[" * 100_000)), Cause.MALFORMED_JSON, 200),
        (respond(json_response({"data": {}})), Cause.WRONG_TYPE, 200),
        (respond(json_response([])), Cause.WRONG_TYPE, 200),
        (respond_and_close(http_response(body=b'{"data":[', length=999)), Cause.BODY_CUT, 200),
        (respond(gzip_response(bytes(20 * 1024 * 1024))), Cause.BODY_TOO_LONG, 200),
        (respond(http_response(headers={"Content-Encoding": "br"})), Cause.BODY_UNDECODABLE, 200),
        (respond_and_reset(), Cause.CONNECTION_LOST, None),
        (respond_and_wait(), Cause.NO_ANSWER_IN_TIME, None),
        (respond_and_wait(http_response(length=99)), Cause.NO_ANSWER_IN_TIME, 200),
    ],
)
def test_a_failing_page_has_its_cause(play: Play, cause: Cause, status: int | None):
    seconds = 2 if cause is Cause.NO_ANSWER_IN_TIME else 20
    with pytest.raises(DatadogError) as caught:
        list_against(play, requests=1, deadline_seconds=seconds)
    assert (caught.value.cause, caught.value.http_status) == (cause, status)

    later = list_against(
        respond(json_response(page([1, 2], total=3))), play, requests=2, deadline_seconds=seconds
    )
    assert not later.is_complete
    assert (later.cause, later.http_status) == (cause, status)
    assert numbers_of(later) == [1, 2]


def test_all_pages_share_one_deadline():
    plays = [respond(json_response(page([1, 2], total=4))), respond_and_wait()]
    listing = list_against(*plays, requests=2, deadline_seconds=2)
    assert listing.cause is Cause.NO_ANSWER_IN_TIME
