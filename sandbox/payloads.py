"""Datadog's JSON objects, shaped like its recorded responses."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.entities import Connection, Keys, Org, User

Json = dict[str, Any]

_CREATED_AT = datetime(2023, 2, 14, 9, 30, 12, 402318, tzinfo=UTC)
_PERMISSIONS = ("org_connections_read", "org_connections_write", "audit_logs_read")


def connection_object(*, connection: Connection, with_names: bool = True) -> Json:
    """An org connection. The response to a PATCH has IDs without names."""
    return {
        "type": "org_connection",
        "id": connection.id,
        "attributes": {
            "connection_types": list(connection.connection_types),
            "created_at": connection.created_at.isoformat(timespec="microseconds"),
        },
        "relationships": {
            "source_org": _relation(
                kind="orgs", entity=connection.source_org, with_name=with_names
            ),
            "sink_org": _relation(kind="orgs", entity=connection.sink_org, with_name=with_names),
            "created_by": _relation(
                kind="users", entity=connection.created_by, with_name=with_names
            ),
        },
    }


def connection_list(
    *, page: Sequence[Connection], total_count: int, total_filtered_count: int
) -> Json:
    """One page of a connection list. An empty page has no `included`."""
    payload: Json = {"data": [connection_object(connection=connection) for connection in page]}
    if page:
        payload["included"] = _included(connections=page)
    payload["meta"] = {
        "page": {"total_count": total_count, "total_filtered_count": total_filtered_count}
    }
    return payload


def current_user(*, keys: Keys, org: Org) -> Json:
    """The owner of the keys. `included` has the org, the role and its permissions."""
    role_id = _derived_id(f"role:{org.id}:{keys.permissions}")
    permissions = [name for name in _PERMISSIONS if name in keys.permissions]
    permissions += [name for name in keys.permissions if name not in _PERMISSIONS]
    user = user_object(user=keys.user)
    user["relationships"] = {
        "roles": {"data": [{"type": "roles", "id": role_id}]},
        "org": {"data": {"type": "orgs", "id": org.id}},
    }
    role = {
        "type": "roles",
        "id": role_id,
        "attributes": {
            "name": "Org Connections Role",
            "created_at": _format_time(_CREATED_AT),
            "modified_at": _format_time(_CREATED_AT),
        },
        "relationships": {
            "permissions": {
                "data": [
                    {"type": "permissions", "id": _permission_id(permission)}
                    for permission in permissions
                ]
            }
        },
    }
    return {
        "data": user,
        "included": [role, *map(_permission_object, permissions), org_object(org=org)],
    }


def managed_orgs(*, org: Org, managed: Sequence[Org]) -> Json:
    """The org itself and the orgs it manages. `included` describes each."""
    orgs = list(dict.fromkeys((org, *managed)))
    return {
        "data": {
            "type": "managed_orgs",
            "id": org.id,
            "relationships": {
                "current_org": {"data": {"type": "orgs", "id": org.id}},
                "managed_orgs": {"data": [{"type": "orgs", "id": one.id} for one in orgs]},
            },
        },
        "included": [org_object(org=one) for one in orgs],
    }


def org_object(*, org: Org) -> Json:
    """An org in `included`."""
    return {
        "type": "orgs",
        "id": org.id,
        "attributes": {
            "name": org.name,
            "public_id": org.public_id,
            "description": None,
            "disabled": False,
            "sharing": "none",
            "url": None,
            "created_at": _format_time(_CREATED_AT),
            "modified_at": _format_time(_CREATED_AT),
        },
    }


def user_object(*, user: User) -> Json:
    """A user in `included`, with personal data that Org Admin must not store."""
    return {
        "type": "users",
        "id": user.id,
        "attributes": {
            "name": user.name,
            "handle": user.handle,
            "email": user.email,
            "icon": "https://secure.gravatar.com/avatar/00000000000000000000000000000000",
            "title": None,
            "service_account": user.service_account,
            "disabled": user.disabled,
            "verified": True,
            "status": "Disabled" if user.disabled else "Active",
            "created_at": _format_time(_CREATED_AT),
            "modified_at": _format_time(_CREATED_AT),
        },
    }


def _included(*, connections: Iterable[Connection]) -> list[Json]:
    orgs: dict[str, Org] = {}
    users: dict[str, User] = {}
    for connection in connections:
        orgs[connection.source_org.id] = connection.source_org
        orgs[connection.sink_org.id] = connection.sink_org
        users[connection.created_by.id] = connection.created_by
    return [org_object(org=org) for org in orgs.values()] + [
        user_object(user=user) for user in users.values()
    ]


def _relation(*, kind: str, entity: Org | User, with_name: bool) -> Json:
    data = {"type": kind, "id": entity.id}
    if with_name:
        data["name"] = entity.name
    return {"data": data}


def _permission_object(name: str) -> Json:
    return {
        "type": "permissions",
        "id": _permission_id(name),
        "attributes": {
            "name": name,
            "display_name": name.replace("_", " ").title(),
            "description": "",
            "group_name": "Access Management",
            "display_type": "other",
            "restricted": False,
            "created": _format_time(_CREATED_AT),
        },
    }


def _permission_id(name: str) -> str:
    return _derived_id(f"permission:{name}")


def _derived_id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


def _format_time(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")
