"""What Datadog's API returned to its official client in Datadog's own recordings.

From tests/v2/cassettes of github.com/DataDog/datadog-api-client-python (Apache-2.0). The names are
replaced.
"""

import json
from dataclasses import dataclass
from typing import Any

CONNECTION_ID = "0105233a-4d7b-4c52-b364-cc968d003de0"
ABSENT_ID = "00000000-0000-0000-0000-000000000000"
SOURCE_ORG_ID = "4dee724d-00cc-11ea-a77b-570c9d03c6c5"
SINK_ORG_ID = "83999dcd-7f97-11f0-8de1-1ecf66f1aa85"
CREATOR_ID = "03e6bc43-7ecc-11f0-b50b-f28f2be41840"
CREATED_AT = "2025-08-26T20:19:38.208326+00:00"
PAIR = f"connection between orgs {SOURCE_ORG_ID} and {SINK_ORG_ID}"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and its response. `path` is relative to the list of connections.

    `exists` says whether the source org had a connection to the sink org.
    """

    name: str
    method: str
    path: str = ""
    data: dict[str, Any] | None = None
    exists: bool = True
    status: str
    response: str


def _create(sink_org_id: str, *types: str) -> dict[str, Any]:
    return {
        "attributes": {"connection_types": list(types)},
        "relationships": {"sink_org": {"data": {"id": sink_org_id, "type": "orgs"}}},
        "type": "org_connection",
    }


def _update(connection_id: str, *types: str) -> dict[str, Any]:
    return {
        "attributes": {"connection_types": list(types)},
        "id": connection_id,
        "type": "org_connection",
    }


def _connection(*types: str, **names: dict[str, str]) -> str:
    relations = (
        ("source_org", "orgs", SOURCE_ORG_ID),
        ("sink_org", "orgs", SINK_ORG_ID),
        ("created_by", "users", CREATOR_ID),
    )
    data = {
        "type": "org_connection",
        "id": CONNECTION_ID,
        "attributes": {"created_at": CREATED_AT, "connection_types": list(types)},
        "relationships": {
            name: {"data": {"type": kind, "id": one} | names.get(name, {})}
            for name, kind, one in relations
        },
    }
    return json.dumps({"data": data}, separators=(",", ":")) + "\n"


CREATED = Exchange(
    name="created",
    method="POST",
    data=_create(SINK_ORG_ID, "logs"),
    exists=False,
    status="200 OK",
    response=_connection(
        "logs",
        source_org={"name": "Parent"},
        sink_org={"name": "Child"},
        created_by={"name": "Dana Keller"},
    ),
)
CHANGED = Exchange(
    name="changed",
    method="PATCH",
    path=f"/{CONNECTION_ID}",
    data=_update(CONNECTION_ID, "logs", "metrics"),
    status="200 OK",
    response=_connection("logs", "metrics"),
)
DELETED = Exchange(
    name="deleted", method="DELETE", path=f"/{CONNECTION_ID}", status="200 OK", response="{}\n"
)
REFUSED = (
    Exchange(
        name="created twice",
        method="POST",
        data=_create(SINK_ORG_ID, "logs"),
        status="409 Conflict",
        response=f'{{"errors":["{PAIR} already exists"]}}',
    ),
    Exchange(
        name="created for an unknown org",
        method="POST",
        data=_create("nonexistent-org-id", "logs"),
        status="404 Not Found",
        response='{"errors":["Not found"]}\n',
    ),
    Exchange(
        name="created with a type twice",
        method="POST",
        data=_create(SINK_ORG_ID, "logs", "logs"),
        exists=False,
        status="400 Bad Request",
        response=f'{{"errors":["{PAIR} is not allowed"]}}',
    ),
    Exchange(
        name="absent connection changed",
        method="PATCH",
        path=f"/{ABSENT_ID}",
        data=_update(ABSENT_ID, "logs", "metrics"),
        status="404 Not Found",
        response=f'{{"errors":["Org connection with id:{ABSENT_ID} not found not found"]}}',
    ),
    Exchange(
        name="changed to a type twice",
        method="PATCH",
        path=f"/{CONNECTION_ID}",
        data=_update(CONNECTION_ID, "logs", "logs"),
        status="400 Bad Request",
        response='{"errors":["Validation failed for input."]}',
    ),
    Exchange(
        name="absent connection deleted",
        method="DELETE",
        path=f"/{ABSENT_ID}",
        status="404 Not Found",
        response=f'{{"errors":["org connection with id:{ABSENT_ID} not found not found"]}}',
    ),
    Exchange(
        name="malformed ID deleted",
        method="DELETE",
        path="/malformed_id",
        status="400 Bad Request",
        response='{"errors":["connection id must be a valid uuid"]}',
    ),
)
EXCHANGES = (CREATED, CHANGED, DELETED, *REFUSED)
