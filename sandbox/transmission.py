"""How an answer travels, or fails to: the part of a fault that shows in the bytes.

Each function returns whether the connection may be kept for another request.
"""

import json
import select
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from typing import Any

from sandbox.faults import HTML, Alteration, Fault, Wire
from sandbox.responses import Answer, Request, answer_to, error_answer, route_of
from sandbox.world import World

_LOOK_EVERY = 0.1  # seconds between two looks at whether a hung client has gone
_BOMB_BYTES = 200 * 1024 * 1024
_DRIPPED_BYTES = 1200  # at the usual interval a minute: longer than any deadline of a client


@dataclass(frozen=True, kw_only=True)
class Line:
    """The connection to one client, and the event that ends every waiting."""

    socket: socket.socket
    stopping: threading.Event

    def pause(self, *, seconds: float) -> bool:
        """Wait; False when the server is being stopped."""
        return not self.stopping.wait(seconds)

    def wait_for_the_client_to_leave(self) -> None:
        """Hold the connection open, silent, until the client closes it or the server stops."""
        while not self.stopping.wait(_LOOK_EVERY):
            readable, _, _ = select.select([self.socket], [], [], 0)
            if readable and not self.socket.recv(1, socket.MSG_PEEK):
                return

    def reset(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def shaped(*, answer: Answer, fault: Fault, request: Request) -> Answer:
    """Put what the fault says in the place of the proper answer."""
    connection_id = route_of(method=request.method, path=request.path).connection_id or ""
    if fault.status is not None:
        answer = error_answer(
            status=fault.status,
            texts=tuple(text.format(connection_id=connection_id) for text in fault.errors),
        )
    if fault.body is not None:
        answer = replace(answer, body=fault.body.encode(), content_type=fault.content_type)
    if answer.content_type == HTML:  # from Datadog's edge, which knows no rate limits
        answer = replace(answer, headers=())
    given = {name.lower() for name, _ in fault.headers}
    limited = fault.status == 429
    kept = tuple(
        (name, value)
        for name, value in answer.headers
        if name.lower() not in given and not (limited and name.lower().startswith("x-ratelimit"))
    )
    return _altered(
        answer=replace(answer, headers=kept + fault.headers), fault=fault, request=request
    )


def proper_answer(*, request: Request, world: World, fault: Fault | None) -> Answer:
    """Let the request have its effect, unless the fault prevents that."""
    if fault is None:
        return answer_to(request=request, world=world)
    if not fault.executes:
        return Answer(status=200, body=b"{}\n")
    another = fault.alters is Alteration.ANOTHER_ORG
    return answer_to(request=request, world=world, as_another_org=another)


def send(*, line: Line, answer: Answer, fault: Fault | None) -> bool:
    """Send the answer the way the fault says."""
    wire = Wire.ANSWER if fault is None else fault.wire
    if fault is not None and fault.delay and not line.pause(seconds=fault.delay):
        return False
    if wire in _DRIPS and fault is not None:
        return _drip(line=line, answer=answer, fault=fault)
    return _SENDERS[wire](line, answer)


def _altered(*, answer: Answer, fault: Fault, request: Request) -> Answer:
    if fault.alters in (Alteration.NONE, Alteration.ANOTHER_ORG):
        return answer
    if fault.alters is Alteration.TRUNCATED_JSON:
        return replace(answer, body=answer.body[: len(answer.body) // 2])
    payload = json.loads(answer.body)
    if fault.alters is Alteration.NOT_AN_OBJECT:
        payload = [payload]
    elif "meta" not in payload:  # only a listing has pages and totals
        return answer
    elif fault.alters is Alteration.HALF_A_PAGE:
        payload["data"] = payload["data"][: len(payload["data"]) // 2]
    elif fault.alters is Alteration.SHIFTING_TOTAL:
        for name in payload["meta"]["page"]:
            payload["meta"]["page"][name] += 1 + int(request.query.get("offset", 0))
    else:
        return replace(answer, body=_contradicting(payload, how=fault.alters).encode() + b"\n")
    return replace(answer, body=json.dumps(payload).encode() + b"\n")


def _contradicting(payload: dict[str, Any], *, how: Alteration) -> str:
    """A listing that would pass for a complete one but for one contradiction."""
    if how is Alteration.TWO_CONTENTS:
        last = payload["data"][-1:]
        other = json.loads(json.dumps(last))
        for one in other:
            one["attributes"]["connection_types"] = ["traces"]
        return json.dumps(_listing(data=last + other, count=len(last)))
    empty = json.dumps(_listing(data=[], count=0))
    if how is Alteration.COUNTS_DIFFER:
        empty = json.dumps(_listing(data=[], count=0, total_count=1))
    elif how is Alteration.REPEATED_NAMES:
        return f"{json.dumps(payload)[:-1]}, {empty[1:]}"
    return f"{empty[:-1]}{_ADDED.get(how, '')}}}"


def _listing(*, data: list[Any], count: int, total_count: int | None = None) -> dict[str, Any]:
    counts = {
        "total_count": count if total_count is None else total_count,
        "total_filtered_count": count,
    }
    return {"data": data, "meta": {"page": counts}}


def _head(answer: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.content_type}",
    ]
    if answer.status != 204:
        lines.append(f"Content-Length: {len(answer.body)}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _whole(line: Line, answer: Answer) -> bool:
    line.socket.sendall(_head(answer) + (b"" if answer.status == 204 else answer.body))
    return True


def _close_after(line: Line, answer: Answer) -> bool:
    _whole(line, answer)
    return False


def _silence(line: Line, answer: Answer) -> bool:
    line.wait_for_the_client_to_leave()
    return False


def _close(line: Line, answer: Answer) -> bool:
    return False


def _reset(line: Line, answer: Answer) -> bool:
    line.reset()
    return False


def _half_status_line(line: Line, answer: Answer) -> bool:
    line.socket.sendall(b"HTTP/1.1 2")
    return False


def _cut_headers(line: Line, answer: Answer) -> bool:
    head = _head(answer)
    line.socket.sendall(head[: head.index(b"\r\n") + 2] + b"Content-Type: applica")
    return False


def _cut_body(line: Line, answer: Answer) -> bool:
    # Told longer than it is, so that even `{}` is cut.
    longer = replace(answer, body=answer.body + b" " * 512)
    line.socket.sendall(_head(longer) + answer.body[: max(1, len(answer.body) // 2)])
    return False


def _bad_gzip(line: Line, answer: Answer) -> bool:
    return _gzipped(line, answer, b"\x1f\x8b\x08\x00this is no gzip stream")


def _gzip_bomb(line: Line, answer: Answer) -> bool:
    return _gzipped(line, answer, _bomb())


def _gzipped(line: Line, answer: Answer, body: bytes) -> bool:
    headers = (*answer.headers, ("Content-Encoding", "gzip"))
    return _whole(line, replace(answer, body=body, headers=headers))


@cache
def _bomb() -> bytes:
    squeeze = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
    piece = bytes(1024 * 1024)
    squeezed = [squeeze.compress(piece) for _ in range(_BOMB_BYTES // len(piece))]
    return b"".join([*squeezed, squeeze.flush()])


def _drip(*, line: Line, answer: Answer, fault: Fault) -> bool:
    if fault.wire is Wire.DRIP_HEADERS:
        padding = ("X-Padding", "." * _DRIPPED_BYTES)
        slowly = _head(replace(answer, headers=(*answer.headers, padding))) + answer.body
    else:
        slowly = answer.body.ljust(_DRIPPED_BYTES)
        line.socket.sendall(_head(replace(answer, body=slowly)))
    for number in range(len(slowly)):
        if not line.pause(seconds=fault.interval):
            return False
        line.socket.sendall(slowly[number : number + 1])
    return True


_ADDED = {
    Alteration.ERRORS_LIST: ', "errors": ["Service degraded"]',
    Alteration.ERRORS_TEXT: ', "errors": "Service degraded"',
    Alteration.ERRORS_OBJECT: ', "errors": {"detail": "Service degraded"}',
    Alteration.NOT_A_NUMBER: ', "share": NaN',
    Alteration.INFINITE_NUMBER: ', "share": Infinity',
}
_DRIPS = (Wire.DRIP_HEADERS, Wire.DRIP_BODY)
_SENDERS: dict[Wire, Callable[[Line, Answer], bool]] = {
    Wire.ANSWER: _whole,
    Wire.SILENCE: _silence,
    Wire.CLOSE: _close,
    Wire.RESET: _reset,
    Wire.RESET_UNREAD: _reset,
    Wire.HALF_STATUS_LINE: _half_status_line,
    Wire.CUT_HEADERS: _cut_headers,
    Wire.CUT_BODY: _cut_body,
    Wire.BAD_GZIP: _bad_gzip,
    Wire.GZIP_BOMB: _gzip_bomb,
    Wire.CLOSE_AFTER: _close_after,
}
