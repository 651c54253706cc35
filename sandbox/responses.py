"""The responses that Datadog returns when nothing goes wrong."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from sandbox import payloads
from sandbox.entities import MANAGE_ORGS, READ, WRITE, Connection, Keys, Org
from sandbox.rate_limits import RateLimitState
from sandbox.world import World

JSON = "application/json"
LIST_LIMIT = 1000

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COLLECTION = "/api/v2/org_connections"
_FIXED_OPERATIONS = {
    ("GET", "/api/v1/validate"): "validate",
    ("GET", "/api/v2/validate_keys"): "validate_keys",
    ("GET", "/api/v2/current_user"): "current_user",
    ("GET", "/api/v2/org"): "managed_orgs",
    ("GET", _COLLECTION): "list",
    ("POST", _COLLECTION): "create",
}
_MEMBER_OPERATIONS = {"DELETE": "delete", "PATCH": "update"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A received request. Header names are in lower case."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body: bytes
    site: str

    @property
    def query(self) -> dict[str, str]:
        """The query parameters by name. For a repeated parameter, the last value."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response before it is sent.

    `has_effect` means that the request created, changed or deleted something.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    has_effect: bool = False


@dataclass(frozen=True, kw_only=True)
class ApiOperation:
    """The requested operation and the path's connection ID.

    The operation is empty if the API has no such operation.
    """

    name: str
    connection_id: str | None


class _ApiError(Exception):
    def __init__(self, *, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, kw_only=True)
class _Caller:
    keys: Keys
    org: Org


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A request whose keys were accepted."""

    request: Request
    operation: ApiOperation
    caller: _Caller
    world: World = field(repr=False)

    @property
    def connection_id(self) -> str:
        return self.operation.connection_id or ""


def operation_of(*, method: str, path: str) -> ApiOperation:
    """Return the operation that a request asks for. Its connection ID is in lower case."""
    name = _FIXED_OPERATIONS.get((method, path), "")
    prefix, _, rest = path.rpartition("/")
    if name or prefix != _COLLECTION or not rest:
        return ApiOperation(name=name, connection_id=None)
    return ApiOperation(
        name=_MEMBER_OPERATIONS.get(method, ""), connection_id=unquote(rest).lower()
    )


def respond(*, request: Request, world: World, as_another_org: bool = False) -> Response:
    """Apply the request to the world and return Datadog's response.

    With `as_another_org` the keys belong to another org of the same site.
    """
    org = org_of(request=request, world=world)
    rate_limit = world.rate_limits.count(org_id=org.id if org else None)
    try:
        _require_within(rate_limit)
        response = _respond(request=request, world=world, as_another_org=as_another_org)
    except _ApiError as error:
        response = error_response(status=error.status, errors=(error.text,))
    return replace(response, headers=rate_limit.headers)


def error_response(*, status: int, errors: tuple[str, ...]) -> Response:
    """Return an error in Datadog's format: a list of texts."""
    return _json_response({"errors": list(errors)}, status=status)


def _respond(*, request: Request, world: World, as_another_org: bool) -> Response:
    operation = operation_of(method=request.method, path=request.path)
    if not operation.name:
        raise _ApiError(status=404, text="Not found")
    if operation.name == "validate":
        return _validate(request=request, world=world)
    caller = _authenticate(request=request, world=world)
    if as_another_org:
        other = _another_org(org=caller.org, world=world)
        caller = _Caller(keys=caller.keys, org=other)
    call = _Call(request=request, operation=operation, caller=caller, world=world)
    return _HANDLERS[operation.name](call)


def _authenticate(*, request: Request, world: World) -> _Caller:
    api_key, application_key, token = _sent_keys(request)
    has_pair = bool(api_key and application_key)
    if bool(token) == has_pair or (token and (api_key or application_key)):
        raise _ApiError(status=401, text="Unauthorized")
    keys: Keys | None = (
        world.find_access_token(access_token=token, site=request.site)
        if token
        else world.find_key_pair(
            api_key=api_key, application_key=application_key, site=request.site
        )
    )
    if keys is None:
        raise _ApiError(status=403, text="Forbidden")
    return _Caller(keys=keys, org=keys.org)


def _sent_keys(request: Request) -> tuple[str, str, str]:
    """The API key, the application key and the access token; "" for each that was not sent."""
    headers = request.headers
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return (
        headers.get("dd-api-key", ""),
        headers.get("dd-application-key", ""),
        token if scheme.lower() == "bearer" else "",
    )


def org_of(*, request: Request, world: World) -> Org | None:
    """Return the org of the API key or access token that the request contains."""
    api_key, _, access_token = _sent_keys(request)
    token = world.find_access_token(access_token=access_token, site=request.site)
    return token.org if token else world.org_of_api_key(api_key=api_key, site=request.site)


def sink_org_of(*, request: Request, world: World) -> Org | None:
    """Return the org of this site to which a POST asks for a connection."""
    sink_id = sink_org_id_of(request)
    if sink_id is None:
        raise _invalid_input()
    sink = world.orgs.get(sink_id)
    return sink if sink and sink.site.name == request.site else None


def sink_org_id_of(request: Request) -> str | None:
    """Return the ID of the org to which a POST asks for a connection, if it is well-formed."""
    try:
        return str(_parse_data(request)["relationships"]["sink_org"]["data"]["id"])
    except (_ApiError, KeyError, TypeError):
        return None


def _another_org(*, org: Org, world: World) -> Org:
    others = (one for one in list(world.orgs.values()) if one.site == org.site and one != org)
    return next(others, org)


def _validate(*, request: Request, world: World) -> Response:
    org = world.org_of_api_key(api_key=request.headers.get("dd-api-key", ""), site=request.site)
    if org is None:
        raise _ApiError(status=403, text="Forbidden")
    return _json_response({"valid": True})


def _validate_keys(call: _Call) -> Response:
    return _json_response({"status": "ok"})


def _current_user(call: _Call) -> Response:
    caller = call.caller
    return _json_response(payloads.current_user(keys=caller.keys, org=caller.org))


def _managed_orgs(call: _Call) -> Response:
    keys = call.caller.keys
    if not (keys.allows(WRITE) or keys.allows(MANAGE_ORGS)):
        raise _ApiError(status=403, text="Forbidden")
    managed = call.world.managed_orgs(org=call.caller.org)
    wanted = call.request.query.get("filter[name]", "")
    return _json_response(
        payloads.managed_orgs(
            org=call.caller.org,
            managed=[managed_org for managed_org in managed if wanted in managed_org.name],
        )
    )


def _list(call: _Call) -> Response:
    _require_permission(call, READ)
    query = call.request.query
    limit = _parse_number(query.get("limit", str(LIST_LIMIT)), name="limit")
    offset = _parse_number(query.get("offset", "0"), name="offset")
    connections = [
        connection
        for connection in call.world.connections(org=call.caller.org)
        if connection.id not in call.caller.keys.unlisted
    ]
    filtered = [
        connection
        for connection in connections
        if query.get("sink_org_id", connection.sink_org.id) == connection.sink_org.id
        and query.get("source_org_id", connection.source_org.id) == connection.source_org.id
    ]
    return _json_response(
        payloads.connection_list(
            page=filtered[offset : offset + limit],
            total_count=len(connections),
            total_filtered_count=len(filtered),
        )
    )


def _create(call: _Call) -> Response:
    _require_permission(call, WRITE)
    types = _parse_types(_parse_data(call.request))
    sink = sink_org_of(request=call.request, world=call.world)
    source = call.caller.org
    if sink is None:
        raise _ApiError(status=404, text="Not found")
    subject = f"connection between orgs {source.id} and {sink.id}"
    if len(set(types)) < len(types):
        raise _ApiError(status=400, text=f"{subject} is not allowed")
    connection = call.world.create_connection(
        source_org=source,
        sink_org=sink,
        connection_types=types,
        created_by=call.caller.keys.user,
    )
    if isinstance(connection, Connection):
        data = payloads.connection_object(connection=connection)
        return _json_response({"data": data}, has_effect=True)
    if connection == "exists":
        raise _ApiError(status=409, text=f"{subject} already exists")
    raise _ApiError(status=400, text=f"{subject} is not allowed")


def _update(call: _Call) -> Response:
    _require_permission(call, WRITE)
    _require_uuid(call)
    types = _parse_types(_parse_data(call.request))
    if len(set(types)) < len(types):
        raise _invalid_input()
    connection = call.world.connection(connection_id=call.connection_id)
    if connection is None or connection.source_org != call.caller.org:
        raise _not_found(call)
    changed = call.world.change_connection(connection_id=connection.id, connection_types=types)
    if changed is None:
        raise _not_found(call)
    data = payloads.connection_object(connection=changed, with_names=False)
    return _json_response({"data": data}, has_effect=True)


def _delete(call: _Call) -> Response:
    _require_permission(call, WRITE)
    _require_uuid(call)
    connection = call.world.connection(connection_id=call.connection_id)
    if connection is None or not connection.involves(call.caller.org):
        raise _not_found(call)
    if not call.world.remove_connection(connection_id=connection.id):
        raise _not_found(call)
    return _json_response({}, has_effect=True)


def _require_within(rate_limit: RateLimitState) -> None:
    if rate_limit.is_exceeded:
        raise _ApiError(status=429, text="Too many requests")


def _require_permission(call: _Call, permission: str) -> None:
    if not call.caller.keys.allows(permission):
        raise _ApiError(status=403, text="Forbidden")


def _require_uuid(call: _Call) -> None:
    if not _is_uuid(call.connection_id):
        raise _ApiError(status=400, text="connection id must be a valid uuid")


def _not_found(call: _Call) -> _ApiError:
    # Datadog itself repeats "not found", and begins with a capital after a PATCH.
    subject = "Org" if call.operation.name == "update" else "org"
    text = f"{subject} connection with id:{call.connection_id} not found not found"
    return _ApiError(status=404, text=text)


def _parse_data(request: Request) -> dict[str, Any]:
    try:
        payload = json.loads(request.body)
    except ValueError:
        payload = None
    data = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(data, dict):
        raise _invalid_input()
    return data


def _parse_types(data: dict[str, Any]) -> tuple[str, ...]:
    attributes = data.get("attributes")
    types = attributes.get("connection_types") if isinstance(attributes, dict) else None
    is_list_of_texts = isinstance(types, list) and all(isinstance(one, str) for one in types)
    if not is_list_of_texts or not types:
        raise _invalid_input()
    return tuple(types)


def _invalid_input() -> _ApiError:
    return _ApiError(status=400, text="Validation failed for input.")


def _parse_number(text: str, *, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _ApiError(status=400, text=f"{name} must be a non-negative integer")
    return int(text)


def _is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None and str(uuid.UUID(text)) == text.lower()


def _json_response(
    payload: dict[str, Any], *, status: int = 200, has_effect: bool = False
) -> Response:
    body = json.dumps(payload, separators=(",", ":")).encode() + b"\n"
    return Response(
        status=status, body=body, headers=RateLimitState().headers, has_effect=has_effect
    )


_HANDLERS = {
    "validate_keys": _validate_keys,
    "current_user": _current_user,
    "managed_orgs": _managed_orgs,
    "list": _list,
    "create": _create,
    "update": _update,
    "delete": _delete,
}
