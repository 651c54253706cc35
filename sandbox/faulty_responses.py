"""Faults of requests: which one applies, and how it changes the effect and the response."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sandbox.fault_rules import RequestAttributes
from sandbox.faults import HTML, Alteration, Fault, First, Transmission
from sandbox.request_log import ReceivedRequest
from sandbox.responses import (
    Request,
    Response,
    error_response,
    operation_of,
    org_of,
    respond,
    sink_org_id_of,
    sink_org_of,
)
from sandbox.world import World


def take_fault(*, request: Request, world: World, only: Transmission | None = None) -> Fault | None:
    """Return the fault that applies to the request, and count it; see `FaultRules.take`."""
    return world.fault_rules.take(_attributes_of(request=request, world=world), only=only)


def log_request(*, request: Request, world: World, fault: Fault | None) -> int:
    """Add the request to the world's log and return its number there."""
    attributes = _attributes_of(request=request, world=world)
    return world.request_log.add(
        ReceivedRequest(
            method=request.method,
            path=request.path,
            query=request.query_string,
            site=request.site,
            org=attributes.org,
            connection_id=attributes.connection_id,
            received_at=datetime.now(UTC),
            executed=False,
            fault=fault.name if fault else None,
            header_names=tuple(request.headers),
            sink_org=attributes.sink_org,
        )
    )


def respond_with_fault(
    *, request: Request, world: World, fault: Fault | None, number: int
) -> Response:
    """Execute the request unless its fault prevents that, and return the response.

    `number` is the request's number in the world's log.
    """
    if fault is not None:
        _let_another_act(request=request, world=world, first=fault.first)
    if fault is None:
        response = respond(request=request, world=world)
    elif fault.executes:
        as_another_org = fault.alteration is Alteration.ANOTHER_ORG
        response = respond(request=request, world=world, as_another_org=as_another_org)
    else:
        response = Response(status=200, body=b"{}\n")
    if response.has_effect:
        world.request_log.mark_executed(number=number)
    if fault is None:
        return response
    response = _replace_response(response, fault=fault, request=request)
    return _alter(response, alteration=fault.alteration, request=request)


def _let_another_act(*, request: Request, world: World, first: First) -> None:
    operation = operation_of(method=request.method, path=request.path)
    connection_id = operation.connection_id or ""
    if first is First.CREATES and operation.name == "create":
        source = org_of(request=request, world=world)
        sink = sink_org_of(request=request, world=world)
        if source and sink:
            world.add_connection(source_org=source, sink_org=sink)
    elif first is First.CHANGES:
        world.change_connection(connection_id=connection_id, connection_types=("metrics",))
    elif first is First.DELETES:
        world.remove_connection(connection_id=connection_id)


def _attributes_of(*, request: Request, world: World) -> RequestAttributes:
    operation = operation_of(method=request.method, path=request.path)
    org = org_of(request=request, world=world)
    return RequestAttributes(
        operation=operation.name,
        site=request.site,
        org=org.id if org else None,
        connection_id=operation.connection_id,
        sink_org=sink_org_id_of(request) if operation.name == "create" else None,
    )


def _replace_response(response: Response, *, fault: Fault, request: Request) -> Response:
    """Replace the parts of the response that the fault defines."""
    connection_id = operation_of(method=request.method, path=request.path).connection_id or ""
    if fault.status is not None:
        response = error_response(
            status=fault.status,
            errors=tuple(text.format(connection_id=connection_id) for text in fault.errors),
        )
    if fault.body is not None:
        response = replace(response, body=fault.body.encode(), content_type=fault.content_type)
    if response.content_type == HTML:  # from Datadog's proxies, which send no rate limits
        response = replace(response, headers=())
    replaced = {name.lower() for name, _ in fault.headers}
    is_rate_limited = fault.status == 429
    kept = tuple(
        (name, value)
        for name, value in response.headers
        if name.lower() not in replaced
        and not (is_rate_limited and name.lower().startswith("x-ratelimit"))
    )
    return replace(response, headers=kept + fault.headers)


def _alter(response: Response, *, alteration: Alteration, request: Request) -> Response:
    if alteration in (Alteration.NONE, Alteration.ANOTHER_ORG):
        return response
    if alteration is Alteration.TRUNCATED_JSON:
        return replace(response, body=response.body[: len(response.body) // 2])
    payload = json.loads(response.body)
    if alteration is Alteration.NOT_AN_OBJECT:
        payload = [payload]
    elif "meta" not in payload:  # only a connection list has pages and totals
        return response
    elif alteration is Alteration.INCOMPLETE_PAGE:
        payload["data"] = payload["data"][: len(payload["data"]) // 2]
    elif alteration is Alteration.CHANGING_TOTAL:
        for name in payload["meta"]["page"]:
            payload["meta"]["page"][name] += 1 + int(request.query.get("offset", 0))
    else:
        text = _contradictory_list(payload, alteration=alteration)
        return replace(response, body=text.encode() + b"\n")
    return replace(response, body=json.dumps(payload).encode() + b"\n")


def _contradictory_list(payload: dict[str, Any], *, alteration: Alteration) -> str:
    """Return a list that looks complete except for one contradiction."""
    if alteration is Alteration.CONFLICTING_COPIES:
        last = payload["data"][-1:]
        copy = json.loads(json.dumps(last))
        for one in copy:
            one["attributes"]["connection_types"] = ["traces"]
        return json.dumps(_list_payload(data=last + copy, count=len(last)))
    empty = json.dumps(_list_payload(data=[], count=0))
    if alteration is Alteration.COUNTS_DIFFER:
        empty = json.dumps(_list_payload(data=[], count=0, total_count=1))
    elif alteration is Alteration.DUPLICATE_NAMES:
        return f"{json.dumps(payload)[:-1]}, {empty[1:]}"
    return f"{empty[:-1]}{_ADDED_TEXTS.get(alteration, '')}}}"


def _list_payload(*, data: list[Any], count: int, total_count: int | None = None) -> dict[str, Any]:
    counts = {
        "total_count": count if total_count is None else total_count,
        "total_filtered_count": count,
    }
    return {"data": data, "meta": {"page": counts}}


_ADDED_TEXTS = {
    Alteration.ERRORS_LIST: ', "errors": ["Service degraded"]',
    Alteration.ERRORS_TEXT: ', "errors": "Service degraded"',
    Alteration.ERRORS_OBJECT: ', "errors": {"detail": "Service degraded"}',
    Alteration.NOT_A_NUMBER: ', "share": NaN',
    Alteration.INFINITE_NUMBER: ', "share": Infinity',
}
