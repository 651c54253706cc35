"""The list of managed orgs, which only a parent org has."""

from typing import Any

import pytest

from connections.core.causes import Cause
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import ListedOrg
from connections.datadog.responses import DatadogError
from tests.datadog.servers import ScriptedServer, http_response, json_response, key_pair, respond

OWN = {"data": {"type": "orgs", "id": "org-1"}}
CHILD = {"type": "orgs", "id": "org-2"}


def document(managed: Any, *, included: Any = (), own: Any = OWN) -> dict[str, Any]:
    """A response with this list of managed orgs."""
    return {
        "data": {
            "type": "managed_orgs",
            "id": "org-1",
            "relationships": {"current_org": own, "managed_orgs": {"data": managed}},
        },
        "included": list(included),
    }


def list_managed_orgs(data: bytes) -> tuple[ListedOrg, ...]:
    """The client's result for this response."""
    with ScriptedServer([respond(data)]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        try:
            return client.list_managed_orgs(deadline_seconds=5)
        finally:
            [seen] = server.seen
            assert (seen.method, seen.target) == ("GET", "/api/v2/org")
            assert {"dd-api-key", "dd-application-key"} <= seen.headers.keys()


def test_it_names_the_keys_own_org_and_each_managed_org_once():
    included = [
        {"type": "orgs", "id": "org-1", "attributes": {"name": "Parent"}},
        {"type": "orgs", "id": "org-2", "attributes": {"name": "Child"}},
        {"type": "users", "id": "org-3", "attributes": {"name": "Not an org"}},
    ]
    managed = [CHILD, OWN["data"], {"type": "orgs", "id": "org-3"}]
    assert list_managed_orgs(json_response(document(managed, included=included))) == (
        ListedOrg(id="org-1", name="Parent"),
        ListedOrg(id="org-2", name="Child"),
        ListedOrg(id="org-3", name=""),
    )


CONTRADICTORY = [
    {"type": "orgs", "id": "org-2", "attributes": {"name": name}} for name in ("Child", "Other")
]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"data": []},
        document(None),
        document({}),
        document(["org-2"]),
        document([{"type": "orgs"}]),
        document([CHILD], own={}),
        document([CHILD], included=CONTRADICTORY),
    ],
)
def test_a_document_of_another_form_is_an_error(wrong: Any):
    with pytest.raises(DatadogError) as caught:
        list_managed_orgs(json_response(wrong))
    assert caught.value.cause is Cause.WRONG_TYPE


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (json_response({"errors": ["Forbidden"]}, status="403 Forbidden"), Cause.FORBIDDEN),
        (json_response(document([CHILD]) | {"errors": ["Degraded"]}), Cause.ERRORS_IN_RESPONSE),
        (http_response(body=b"<html>"), Cause.MALFORMED_JSON),
    ],
)
def test_a_failure_keeps_its_cause(data: bytes, cause: Cause):
    with pytest.raises(DatadogError) as caught:
        list_managed_orgs(data)
    assert caught.value.cause is cause
