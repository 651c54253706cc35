"""What Datadog answers to a request when nothing goes wrong on the way."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from sandbox import payloads
from sandbox.world import READ, WRITE, Connection, KeyPair, Org, World

JSON = "application/json"
LIST_LIMIT = 1000
DESTINATIONS_PER_ORG = 5
RATE_LIMIT = (
    ("X-RateLimit-Limit", "6000"),
    ("X-RateLimit-Period", "60"),
    ("X-RateLimit-Remaining", "5999"),
    ("X-RateLimit-Reset", "42"),
    ("X-RateLimit-Name", "org_connections"),
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COLLECTION = "/api/v2/org_connections"
_FIXED_ROUTES = {
    ("GET", "/api/v1/validate"): "validate",
    ("GET", "/api/v2/validate_keys"): "validate_keys",
    ("GET", "/api/v2/current_user"): "current_user",
    ("GET", _COLLECTION): "list",
    ("POST", _COLLECTION): "create",
}
_MEMBER_ROUTES = {"DELETE": "delete", "PATCH": "update"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it was read; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    site: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer before it is sent; `effect`: it deleted, created or changed something."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    effect: bool = False


@dataclass(frozen=True, kw_only=True)
class Route:
    """The operation that is meant (empty: none) and the connection id in the path."""

    operation: str
    connection_id: str | None


class _Refusal(Exception):
    def __init__(self, *, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, kw_only=True)
class _Caller:
    pair: KeyPair
    org: Org


@dataclass(frozen=True, kw_only=True)
class _Call:
    request: Request
    route: Route
    caller: _Caller
    world: World = field(repr=False)

    @property
    def connection_id(self) -> str:
        return self.route.connection_id or ""


def route_of(*, method: str, path: str) -> Route:
    """Find out what the request is about; an id is folded to lower case."""
    operation = _FIXED_ROUTES.get((method, path), "")
    prefix, _, rest = path.rpartition("/")
    if operation or prefix != _COLLECTION or not rest:
        return Route(operation=operation, connection_id=None)
    return Route(operation=_MEMBER_ROUTES.get(method, ""), connection_id=unquote(rest).lower())


def answer_to(*, request: Request, world: World, as_another_org: bool = False) -> Answer:
    """Answer the request and let it have its effect.

    `as_another_org` plays keys that turn out to belong to another org of the same site.
    """
    try:
        return _answer(request=request, world=world, as_another_org=as_another_org)
    except _Refusal as refusal:
        return error_answer(status=refusal.status, texts=(refusal.text,))


def error_answer(*, status: int, texts: tuple[str, ...]) -> Answer:
    """Datadog's form of an error: a list of texts."""
    return _json_answer({"errors": list(texts)}, status=status)


def _answer(*, request: Request, world: World, as_another_org: bool) -> Answer:
    route = route_of(method=request.method, path=request.path)
    if not route.operation:
        raise _Refusal(status=404, text="Not found")
    if route.operation == "validate":
        return _validate(request=request, world=world)
    caller = _identify(request=request, world=world)
    if as_another_org:
        caller = _Caller(pair=caller.pair, org=_another_org(org=caller.org, world=world))
    call = _Call(request=request, route=route, caller=caller, world=world)
    return _HANDLERS[route.operation](call)


def _identify(*, request: Request, world: World) -> _Caller:
    api_key = request.headers.get("dd-api-key", "")
    application_key = request.headers.get("dd-application-key", "")
    if not api_key or not application_key:
        raise _Refusal(status=401, text="Unauthorized")
    pair = world.working_pair(api_key=api_key, application_key=application_key, site=request.site)
    if pair is None:
        raise _Refusal(status=403, text="Forbidden")
    return _Caller(pair=pair, org=pair.org)


def _another_org(*, org: Org, world: World) -> Org:
    others = (one for one in list(world.orgs.values()) if one.site == org.site and one != org)
    return next(others, org)


def _validate(*, request: Request, world: World) -> Answer:
    org = world.api_key_org(api_key=request.headers.get("dd-api-key", ""), site=request.site)
    if org is None:
        raise _Refusal(status=403, text="Forbidden")
    return _json_answer({"valid": True})


def _validate_keys(call: _Call) -> Answer:
    return _json_answer({"status": "ok"})


def _current_user(call: _Call) -> Answer:
    caller = call.caller
    return _json_answer(payloads.current_user(key_pair=caller.pair, org=caller.org))


def _list(call: _Call) -> Answer:
    _require(call=call, permission=READ)
    query = call.request.query
    limit = _number(query.get("limit", str(LIST_LIMIT)), name="limit")
    offset = _number(query.get("offset", "0"), name="offset")
    everything = call.world.connections(org=call.caller.org)
    filtered = [
        one
        for one in everything
        if query.get("sink_org_id", one.sink_org.id) == one.sink_org.id
        and query.get("source_org_id", one.source_org.id) == one.source_org.id
    ]
    return _json_answer(
        payloads.connection_list(
            page=filtered[offset : offset + limit],
            total_count=len(everything),
            total_filtered_count=len(filtered),
        )
    )


def _create(call: _Call) -> Answer:
    _require(call=call, permission=WRITE)
    data = _body(call=call).get("data", {})
    types = _types(data=data)
    sink = call.world.orgs.get(_sink_id(data=data))
    source = call.caller.org
    if sink is None or sink.site != source.site:
        raise _Refusal(status=404, text="Not found")
    connection = call.world.connect(
        source_org=source,
        sink_org=sink,
        connection_types=types,
        created_by=call.caller.pair.user,
        most=DESTINATIONS_PER_ORG,
    )
    if isinstance(connection, Connection):
        data = payloads.connection_object(connection=connection)
        return _json_answer({"data": data}, effect=True)
    pair = f"connection between orgs {source.id} and {sink.id}"
    if connection == "exists":
        raise _Refusal(status=409, text=f"{pair} already exists")
    raise _Refusal(status=400, text=f"{pair} is not allowed")


def _update(call: _Call) -> Answer:
    _require(call=call, permission=WRITE)
    _require_uuid(call=call)
    types = _types(data=_body(call=call).get("data", {}))
    connection = call.world.connection(connection_id=call.connection_id)
    if connection is None or connection.source_org != call.caller.org:
        raise _absent(call=call)
    changed = call.world.change_connection(connection_id=connection.id, connection_types=types)
    if changed is None:
        raise _absent(call=call)
    data = payloads.connection_object(connection=changed, with_names=False)
    return _json_answer({"data": data}, effect=True)


def _delete(call: _Call) -> Answer:
    _require(call=call, permission=WRITE)
    _require_uuid(call=call)
    connection = call.world.connection(connection_id=call.connection_id)
    if connection is None or not connection.joins(call.caller.org):
        raise _absent(call=call)
    if not call.world.remove_connection(connection_id=connection.id):
        raise _absent(call=call)
    return _json_answer({}, effect=True)


def _require(*, call: _Call, permission: str) -> None:
    if not call.caller.pair.may(permission):
        raise _Refusal(status=403, text="Forbidden")


def _require_uuid(*, call: _Call) -> None:
    if not is_uuid(call.connection_id):
        raise _Refusal(status=400, text="connection id must be a valid uuid")


def _absent(*, call: _Call) -> _Refusal:
    # The doubled words are Datadog's own.
    text = f"org connection with id:{call.connection_id} not found not found"
    return _Refusal(status=404, text=text)


def _body(*, call: _Call) -> dict[str, Any]:
    try:
        payload = json.loads(call.request.body)
    except ValueError:
        payload = None
    if not isinstance(payload, dict) or not isinstance(payload.get("data"), dict):
        raise _Refusal(status=400, text="Validation failed for input.")
    return payload


def _types(*, data: dict[str, Any]) -> tuple[str, ...]:
    attributes = data.get("attributes")
    types = attributes.get("connection_types") if isinstance(attributes, dict) else None
    good = isinstance(types, list) and all(isinstance(one, str) for one in types)
    if not good or not types or len(set(types)) != len(types):
        raise _Refusal(status=400, text="Validation failed for input.")
    return tuple(types)


def _sink_id(*, data: dict[str, Any]) -> str:
    try:
        return str(data["relationships"]["sink_org"]["data"]["id"])
    except (KeyError, TypeError):
        raise _Refusal(status=400, text="Validation failed for input.") from None


def _number(text: str, *, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _Refusal(status=400, text=f"{name} must be a non-negative integer")
    return int(text)


def is_uuid(text: str) -> bool:
    """Tell whether the text is a UUID in its usual form."""
    return _UUID.fullmatch(text) is not None and str(uuid.UUID(text)) == text.lower()


def _json_answer(payload: dict[str, Any], *, status: int = 200, effect: bool = False) -> Answer:
    body = json.dumps(payload, separators=(",", ":")).encode() + b"\n"
    return Answer(status=status, body=body, headers=RATE_LIMIT, effect=effect)


_HANDLERS = {
    "validate_keys": _validate_keys,
    "current_user": _current_user,
    "list": _list,
    "create": _create,
    "update": _update,
    "delete": _delete,
}
