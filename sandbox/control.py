"""The control API, by which another process sets faults and reads the received requests.

GET  /__sandbox__/requests  the received requests, oldest first
POST /__sandbox__/faults    {"fault": name, "connection_id" | "site" | "org" | "method" |
                            "operation" | "times" | "after": …, "delay" | "late" | "interval" |
                            "location": …}; {"clear": true} removes all faults
POST /__sandbox__/connections {"connection_id": …, "connection_types": […]} changes a connection;
                            {"connection_id": …, "change": "remove" | "recreate" |
                            "disable_creator"} does that; both "after" so many seconds
POST /__sandbox__/orgs      {"org": id, "parent": id} lets the parent manage the org; null: no org
POST /__sandbox__/reset     restores the initial state
Datadog has no such paths. The server listens on the loopback address only.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sandbox.faults import fault_by_name
from sandbox.responses import Request, Response, error_response
from sandbox.world import World

PREFIX = "/__sandbox__/"

_RULE_FIELDS = ("connection_id", "site", "org", "method", "operation", "times", "after")
_FAULT_FIELDS = ("delay", "late", "interval", "location")


def respond(*, request: Request, world: World) -> Response:
    """Respond to a request to the control API."""
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "requests":
            return _json_response({"requests": [asdict(one) for one in world.requests()]})
        case "POST", "faults":
            return _set_fault(request=request, world=world)
        case "POST", "connections":
            return _change_connection(request=request, world=world)
        case "POST", "orgs":
            return _set_parent(request=request, world=world)
        case "POST", "reset":
            world.reset()
            return _json_response({})
        case _:
            return error_response(status=404, errors=("the control API has no such path",))


def _set_fault(*, request: Request, world: World) -> Response:
    try:
        values: dict[str, Any] = json.loads(request.body)
        if values.get("clear"):
            world.clear_faults()
            return _json_response({})
        unknown = set(values) - {"fault", *_RULE_FIELDS, *_FAULT_FIELDS}
        if unknown:
            return error_response(status=400, errors=(f"unknown: {', '.join(sorted(unknown))}",))
        changes = {key: values[key] for key in _FAULT_FIELDS if key in values}
        fault = fault_by_name(name=values["fault"], changes=changes)
        world.set_fault(fault=fault, **{key: values[key] for key in _RULE_FIELDS if key in values})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return error_response(status=400, errors=(f"{type(error).__name__}: {error}",))
    return _json_response({})


def _change_connection(*, request: Request, world: World) -> Response:
    try:
        values: dict[str, Any] = json.loads(request.body)
        change = _scripted_change(values, world=world)
        after = float(values.get("after", 0))
    except (ValueError, KeyError, TypeError) as error:
        return error_response(status=400, errors=(f"{type(error).__name__}: {error}",))
    if after:
        timer = threading.Timer(after, change)
        timer.daemon = True
        timer.start()
    elif not change():
        return error_response(status=404, errors=("no such connection",))
    return _json_response({})


def _scripted_change(values: dict[str, Any], *, world: World) -> Callable[[], object]:
    """The requested change, as a function that returns None or False for a missing connection."""
    target = {"connection_id": str(values["connection_id"])}
    match values.get("change", "types"):
        case "types":
            types = tuple(values["connection_types"])
            return lambda: world.change_connection(**target, connection_types=types)
        case "remove":
            return lambda: world.remove_connection(**target)
        case "recreate":
            return lambda: world.recreate_connection(**target)
        case "disable_creator":
            return lambda: world.disable_creator(**target)
        case unknown:
            raise ValueError(f"unknown change: {unknown}")


def _set_parent(*, request: Request, world: World) -> Response:
    try:
        values: dict[str, Any] = json.loads(request.body)
        parent_id = values["parent"]
        parent = None if parent_id is None else world.orgs[parent_id]
        world.set_parent(org=world.orgs[values["org"]], parent=parent)
    except (ValueError, KeyError, TypeError) as error:
        return error_response(status=400, errors=(f"{type(error).__name__}: {error}",))
    return _json_response({})


def _json_response(payload: dict[str, Any]) -> Response:
    return Response(status=200, body=json.dumps(payload, default=str).encode() + b"\n")
