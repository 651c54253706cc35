"""The key checks: is the API key valid, is the key pair valid, and who owns it?"""

import json
from typing import Any

import pytest

from connections.core.causes import Cause
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import KeyOwner, ListedOrg
from connections.datadog.responses import DatadogError
from tests.datadog.servers import (
    ReceivedRequest,
    ScriptedServer,
    http_response,
    json_response,
    key_pair,
    respond,
)

USER = {
    "data": {
        "type": "users",
        "id": "user-1",
        "attributes": {
            "name": "Ann",
            "email": "person@example.com",
            "handle": "the-handle",
            "service_account": True,
        },
        "relationships": {"org": {"data": {"type": "orgs", "id": "org-1"}}},
    },
    "included": [
        {"type": "orgs", "id": "org-9", "attributes": {"name": "Other", "public_id": "zzz"}},
        {"type": "orgs", "id": "org-1", "attributes": {"name": "Parent", "public_id": "abc"}},
        {"type": "roles", "id": "role-1", "attributes": {"name": "Admin"}},
        {"type": "permissions", "id": "p-1", "attributes": {"name": "org_connections_read"}},
        {"type": "permissions", "id": "p-2", "attributes": {"name": "org_connections_write"}},
        {"type": "permissions", "id": "p-3", "attributes": {}},
        "broken",
    ],
}


def send_request(call: str, data: bytes) -> tuple[Any, ReceivedRequest]:
    """Make the call once against that response; the server must have seen one request."""
    with ScriptedServer([respond(data)]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        try:
            result = getattr(client, call)(deadline_seconds=5)
        finally:
            assert len(server.seen) == 1
    return result, server.seen[0]


def test_whoami_names_org_person_and_permissions():
    identity, seen = send_request("whoami", json_response(USER))
    assert identity == KeyOwner(
        org=ListedOrg(id="org-1", name="Parent"),
        user_id="user-1",
        user_name="Ann",
        is_service_account=True,
        permissions=frozenset({"org_connections_read", "org_connections_write"}),
    )
    assert (seen.method, seen.target) == ("GET", "/api/v2/current_user")
    assert {"dd-api-key", "dd-application-key"} <= seen.headers.keys()


@pytest.mark.parametrize(
    ("flag", "is_service_account"), [("false", False), ('"true"', None), ("null", None)]
)
def test_only_datadog_says_that_the_owner_is_a_service_account(
    flag: str, *, is_service_account: bool | None
):
    document = json.dumps(USER).replace('"service_account": true', f'"service_account": {flag}')
    identity, _ = send_request("whoami", http_response(body=document.encode()))
    assert identity.is_service_account is is_service_account


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"data": USER["data"]},
        {"included": USER["included"]},
        {"data": []},
        json.loads(json.dumps(USER).replace('"org-1"', f'"{"1" * 65}"')),
    ],
)
def test_a_response_without_an_org_is_an_error(document: Any):
    with pytest.raises(DatadogError) as caught:
        send_request("whoami", json_response(document))
    assert caught.value.cause is Cause.WRONG_TYPE


def test_the_api_key_is_validated_alone():
    _, seen = send_request("validate_api_key", json_response({"valid": True}))
    assert seen.target == "/api/v1/validate"
    assert "dd-api-key" in seen.headers
    assert "dd-application-key" not in seen.headers


def test_the_key_pair_is_validated_together():
    _, seen = send_request("validate_key_pair", json_response({"status": "ok"}))
    assert seen.target == "/api/v2/validate_keys"
    assert {"dd-api-key", "dd-application-key"} <= seen.headers.keys()


@pytest.mark.parametrize(
    ("call", "data", "cause", "status"),
    [
        ("validate_api_key", json_response({"valid": False}), Cause.KEY_NOT_VALID, 200),
        ("validate_api_key", json_response({"valid": "true"}), Cause.WRONG_TYPE, 200),
        ("validate_api_key", json_response({}), Cause.WRONG_TYPE, 200),
        ("validate_api_key", json_response({}, status="403 Forbidden"), Cause.FORBIDDEN, 403),
        ("validate_api_key", http_response(body=b"<html>"), Cause.MALFORMED_JSON, 200),
        ("validate_key_pair", json_response({"status": "no"}), Cause.KEY_NOT_VALID, 200),
        ("validate_key_pair", json_response(["ok"]), Cause.WRONG_TYPE, 200),
        (
            "validate_key_pair",
            json_response({}, status="401 Unauthorized"),
            Cause.UNAUTHORIZED,
            401,
        ),
        ("whoami", json_response({}, status="302 Found"), Cause.REDIRECT, 302),
    ],
)
def test_any_other_response_is_an_error(call: str, data: bytes, cause: Cause, status: int):
    with pytest.raises(DatadogError) as caught:
        send_request(call, data)
    assert (caught.value.cause, caught.value.http_status) == (cause, status)


def test_a_429_includes_when_to_retry():
    headers = {"X-RateLimit-Reset": "12"}
    with pytest.raises(DatadogError) as caught:
        send_request("whoami", http_response("429 Too Many Requests", b"{}", headers=headers))
    assert caught.value.retry_after_seconds == 12
