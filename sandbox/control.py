"""The control addresses, by which another process steers and questions the sandbox.

GET  /__sandbox__/requests  what was received, oldest first
POST /__sandbox__/faults    {"fault": name, "connection_id" | "site" | "org" | "method" |
                            "operation" | "times" | "after": …, "delay" | "late" | "interval" |
                            "location": …}; {"clear": true} removes all
POST /__sandbox__/reset     back to the beginning
They are not Datadog's; the listeners are bound to the loopback address only.
"""

import json
from dataclasses import asdict
from typing import Any

from sandbox.faults import fault_by_name
from sandbox.responses import Answer, Request, error_answer
from sandbox.world import World

PREFIX = "/__sandbox__/"

_BINDING = ("connection_id", "site", "org", "method", "operation", "times", "after")
_CHANGES = ("delay", "late", "interval", "location")


def answer_to(*, request: Request, world: World) -> Answer:
    """Answer a request to a control address."""
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "requests":
            return _json({"requests": [asdict(one) for one in world.requests()]})
        case "POST", "faults":
            return _set_fault(request=request, world=world)
        case "POST", "reset":
            world.reset()
            return _json({})
        case _:
            return error_answer(status=404, texts=("no such control address",))


def _set_fault(*, request: Request, world: World) -> Answer:
    try:
        wanted: dict[str, Any] = json.loads(request.body)
        if wanted.get("clear"):
            world.clear_faults()
            return _json({})
        unknown = set(wanted) - {"fault", *_BINDING, *_CHANGES}
        if unknown:
            return error_answer(status=400, texts=(f"unknown: {', '.join(sorted(unknown))}",))
        changes = {key: wanted[key] for key in _CHANGES if key in wanted}
        fault = fault_by_name(name=wanted["fault"], changes=changes)
        world.set_fault(fault=fault, **{key: wanted[key] for key in _BINDING if key in wanted})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return error_answer(status=400, texts=(f"{type(error).__name__}: {error}",))
    return _json({})


def _json(payload: dict[str, Any]) -> Answer:
    return Answer(status=200, body=json.dumps(payload, default=str).encode() + b"\n")
