"""The meaning of each status of each write, and what is never sent."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from connections.core.causes import Cause
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult, WriteResponse
from tests.datadog.actions import (
    DELETE,
    PATCH,
    POST,
    SINK_ORG_ID,
    TYPES,
    WriteUnderTest,
    delete_against,
)
from tests.datadog.servers import (
    API_KEY,
    APPLICATION_KEY,
    CONNECTION_ID,
    ScriptedServer,
    http_response,
    json_response,
    key_pair,
    respond,
)

NOT_FOUND = {"errors": [f"org connection with id:{CONNECTION_ID} not found not found"]}


def test_a_200_is_a_success_and_the_response_is_kept(write: WriteUnderTest):
    result = write.send_against(respond(http_response()))
    assert result.verdict is write.success
    assert result.cause is None
    assert result.http_status == 200
    assert result.body == b"{}\n"
    assert result.body_sha256 == hashlib.sha256(b"{}\n").hexdigest()
    assert result.body_is_complete
    assert result.retry_after_seconds is None


@pytest.mark.parametrize(
    ("write", "path", "data"),
    [
        (DELETE, f"/{CONNECTION_ID}", None),
        (
            POST,
            "",
            {
                "type": "org_connection",
                "attributes": {"connection_types": ["logs", "metrics"]},
                "relationships": {"sink_org": {"data": {"type": "orgs", "id": SINK_ORG_ID}}},
            },
        ),
        (
            PATCH,
            f"/{CONNECTION_ID}",
            {
                "type": "org_connection",
                "id": CONNECTION_ID,
                "attributes": {"connection_types": ["logs", "metrics"]},
            },
        ),
    ],
)
def test_the_request_is_the_documented_one(
    write: WriteUnderTest, path: str, data: dict[str, Any] | None
):
    with ScriptedServer([respond(http_response())]) as server:
        write.send(server.url)
    (seen,) = server.seen
    assert seen.target == f"/api/v2/org_connections{path}"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["user-agent"].startswith("org-admin/")
    assert seen.headers["dd-api-key"] == API_KEY
    assert seen.headers["dd-application-key"] == APPLICATION_KEY
    assert "authorization" not in seen.headers
    assert seen.headers.get("content-type") == (data and "application/json")
    assert (json.loads(seen.body) if seen.body else None) == (data and {"data": data})


# What a status means for a DELETE. `_OTHERS` has what differs for another write.
_REFUSED, _AMBIGUOUS = AttemptResult.REFUSED, AttemptResult.AMBIGUOUS
_STATUSES = {
    "400 Bad Request": (_REFUSED, Cause.BAD_REQUEST),
    "401 Unauthorized": (_REFUSED, Cause.UNAUTHORIZED),
    "403 Forbidden": (_REFUSED, Cause.FORBIDDEN),
    "404 Not Found": (AttemptResult.NOT_FOUND, Cause.NOT_FOUND),
    "429 Too Many Requests": (AttemptResult.RATE_LIMITED, Cause.RATE_LIMITED),
    "408 Request Timeout": (_AMBIGUOUS, Cause.REQUEST_TIMEOUT),
    "409 Conflict": (_AMBIGUOUS, Cause.UNEXPECTED_STATUS),
    "500 Internal Server Error": (_AMBIGUOUS, Cause.SERVER_ERROR),
    "502 Bad Gateway": (_AMBIGUOUS, Cause.SERVER_ERROR),
    "503 Service Unavailable": (_AMBIGUOUS, Cause.SERVER_ERROR),
    "201 Created": (_AMBIGUOUS, Cause.UNEXPECTED_STATUS),
    "202 Accepted": (_AMBIGUOUS, Cause.UNEXPECTED_STATUS),
    "204 No Content": (_AMBIGUOUS, Cause.UNEXPECTED_STATUS),
    "304 Not Modified": (_AMBIGUOUS, Cause.REDIRECT),
}
_OTHERS: dict[tuple[str, str], tuple[AttemptResult, Cause | None]] = {
    ("POST", "201 Created"): (AttemptResult.CREATED, None),
    ("POST", "404 Not Found"): (AttemptResult.NOT_FOUND, Cause.DESTINATION_NOT_FOUND),
    ("POST", "409 Conflict"): (AttemptResult.ALREADY_EXISTS, Cause.CONFLICT),
    ("PATCH", "409 Conflict"): (_REFUSED, Cause.CONFLICT),
}


@pytest.mark.parametrize("status", _STATUSES)
def test_every_status_has_one_result_and_is_sent_once(write: WriteUnderTest, status: str):
    result = write.send_against(respond(json_response(NOT_FOUND, status=status)))
    expected = _OTHERS.get((write.method, status), _STATUSES[status])
    assert (result.verdict, result.cause) == expected
    assert result.http_status == int(status[:3])


def test_datadogs_error_text_is_kept_unchanged():
    result = delete_against(respond(json_response(NOT_FOUND, status="404 Not Found")))
    assert result.errors == (NOT_FOUND["errors"][0],)


@pytest.mark.parametrize(
    "body",
    [b"<html>Not Found</html>", b"", b'{"errors":"Not found"}', b"[]", b"[" * 60_000, b"{}"],
)
def test_a_404_of_another_form_is_ambiguous(write: WriteUnderTest, body: bytes):
    result = write.send_against(respond(http_response("404 Not Found", body)))
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.WRONG_404)


def test_a_429_with_an_html_body_is_still_a_429():
    html = http_response("429 Too Many Requests", b"<html>", headers={"Content-Type": "text/html"})
    result = delete_against(respond(html))
    assert result.verdict is AttemptResult.RATE_LIMITED
    assert result.errors == ()
    assert result.retry_after_seconds == 60


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("7, 7", 7),
        ("0", 1),
        ("-5", 1),
        ("301", 300),
        ("9" * 5_000, 300),
        ("1764028800", 300),
        ("abc", 60),
        ("", 60),
        ("\u00b2", 60),
    ],
)
def test_an_invalid_reset_header_is_ignored(value: str, seconds: int):
    headers = {"X-RATELIMIT-Reset": value}
    result = delete_against(respond(http_response("429 Too Many Requests", b"{}", headers=headers)))
    assert result.retry_after_seconds == seconds


def test_the_first_of_two_reset_headers_is_used():
    doubled = b"HTTP/1.1 429 X\r\nX-RateLimit-Reset: 9\r\nx-ratelimit-reset: 4\r\n"
    result = delete_against(respond(doubled + b"Content-Length: 0\r\n\r\n"))
    assert result.retry_after_seconds == 9


def test_only_harmless_headers_are_kept():
    headers = {"Set-Cookie": "a=b", "X-RateLimit-Name": "orgs", "X-Other": "x", "Date": "today"}
    result = delete_against(respond(http_response(headers=headers)))
    assert result.headers == {
        "content-type": "application/json",
        "date": "today",
        "x-ratelimit-name": "orgs",
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(write: WriteUnderTest, status: int):
    with ScriptedServer([respond(http_response())]) as other:
        headers = {"Location": f"{other.url}/api/v2/org_connections/{CONNECTION_ID}"}
        result = write.send_against(respond(http_response(f"{status} Moved", b"", headers=headers)))
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.REDIRECT)
    assert (other.seen, other.connections) == ([], 0)


def assert_never_sent(call: Callable[[DatadogClient], WriteResponse], *, match: str) -> None:
    with ScriptedServer([respond(http_response())]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        with pytest.raises(ValueError, match=match):
            call(client)
    assert server.connections == 0


@pytest.mark.parametrize(
    "connection_id",
    ["../../v2/org", CONNECTION_ID.upper(), f" {CONNECTION_ID}", CONNECTION_ID + "\n", ""],
)
def test_an_id_that_is_not_canonical_is_never_sent(connection_id: str):
    for call in (
        lambda client: client.delete_org_connection(connection_id=connection_id),
        lambda client: client.update_org_connection(
            connection_id=connection_id, connection_types=TYPES
        ),
    ):
        assert_never_sent(call, match=r"^(A|The) connection ID ")


@pytest.mark.parametrize("connection_types", [(), ("logs", "logs"), ("logs", ""), "logs"])
def test_invalid_data_types_are_never_sent(connection_types: Sequence[str]):
    for call in (
        lambda client: client.create_org_connection(
            sink_org_id=SINK_ORG_ID, connection_types=connection_types
        ),
        lambda client: client.update_org_connection(
            connection_id=CONNECTION_ID, connection_types=connection_types
        ),
    ):
        assert_never_sent(call, match="at least one data type")


def test_a_missing_destination_is_never_sent():
    assert_never_sent(
        lambda client: client.create_org_connection(sink_org_id="", connection_types=TYPES),
        match="destination org",
    )
