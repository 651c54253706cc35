"""Sends a response to a client, completely or as a fault says.

Each function returns whether the connection can be kept open for another request.
"""

import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus

from sandbox.faults import Fault, Transmission
from sandbox.responses import Response

_CHECK_INTERVAL = 0.1  # seconds between two checks that a waiting client is still there
_BOMB_BYTES = 200 * 1024 * 1024
_SLOW_BYTES = 1200  # a minute at the default interval, which is longer than any client's deadline


@dataclass(frozen=True, kw_only=True)
class ClientSocket:
    """The socket of one client, and the event that ends every wait."""

    socket: socket.socket
    stopping: threading.Event

    def pause(self, *, seconds: float, until: threading.Event | None = None) -> bool:
        """Wait, at most until the event is set. Return False if the server is stopping."""
        if until is None:
            return not self.stopping.wait(seconds)
        stop_at = time.monotonic() + seconds
        while time.monotonic() < stop_at and not until.is_set():
            if self.stopping.wait(_CHECK_INTERVAL):
                return False
        return True

    def wait_for_close(self) -> None:
        """Send nothing until the client closes the connection or the server stops."""
        while not self.stopping.wait(_CHECK_INTERVAL):
            readable, _, _ = select.select([self.socket], [], [], 0)
            if readable and not self.socket.recv(1, socket.MSG_PEEK):
                return

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def send(*, client: ClientSocket, response: Response, fault: Fault | None) -> bool:
    """Send the response as the fault says."""
    if fault is None:
        return _send_whole(client, response)
    if fault.delay and not client.pause(seconds=fault.delay, until=fault.until):
        return False
    if fault.transmission in (Transmission.SLOW_HEADERS, Transmission.SLOW_BODY):
        return _send_slowly(client, response, fault=fault)
    return _SENDERS[fault.transmission](client, response)


def _head(response: Response) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
    ]
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    lines += [f"{name}: {value}" for name, value in response.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _send_whole(client: ClientSocket, response: Response) -> bool:
    client.socket.sendall(_head(response) + (b"" if response.status == 204 else response.body))
    return True


def _send_whole_and_close(client: ClientSocket, response: Response) -> bool:
    _send_whole(client, response)
    return False


def _send_nothing(client: ClientSocket, response: Response) -> bool:
    client.wait_for_close()
    return False


def _close(client: ClientSocket, response: Response) -> bool:
    return False


def _reset(client: ClientSocket, response: Response) -> bool:
    client.reset()
    return False


def _send_half_status_line(client: ClientSocket, response: Response) -> bool:
    client.socket.sendall(b"HTTP/1.1 2")
    return False


def _send_truncated_headers(client: ClientSocket, response: Response) -> bool:
    head = _head(response)
    client.socket.sendall(head[: head.index(b"\r\n") + 2] + b"Content-Type: applica")
    return False


def _send_truncated_body(client: ClientSocket, response: Response) -> bool:
    # The announced length is greater than the real one, so that even `{}` is truncated.
    longer = replace(response, body=response.body + b" " * 512)
    client.socket.sendall(_head(longer) + response.body[: max(1, len(response.body) // 2)])
    return False


def _send_invalid_gzip(client: ClientSocket, response: Response) -> bool:
    return _send_as_gzip(client, response, body=b"\x1f\x8b\x08\x00this is no gzip stream")


def _send_gzip_bomb(client: ClientSocket, response: Response) -> bool:
    return _send_as_gzip(client, response, body=_gzip_bomb())


def _send_as_gzip(client: ClientSocket, response: Response, *, body: bytes) -> bool:
    headers = (*response.headers, ("Content-Encoding", "gzip"))
    return _send_whole(client, replace(response, body=body, headers=headers))


@cache
def _gzip_bomb() -> bytes:
    compressor = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
    chunk = bytes(1024 * 1024)
    compressed = [compressor.compress(chunk) for _ in range(_BOMB_BYTES // len(chunk))]
    return b"".join([*compressed, compressor.flush()])


def _send_slowly(client: ClientSocket, response: Response, *, fault: Fault) -> bool:
    if fault.transmission is Transmission.SLOW_HEADERS:
        padding = ("X-Padding", "." * _SLOW_BYTES)
        rest = _head(replace(response, headers=(*response.headers, padding))) + response.body
    else:
        rest = response.body.ljust(_SLOW_BYTES)
        client.socket.sendall(_head(replace(response, body=rest)))
    for number in range(len(rest)):
        if not client.pause(seconds=fault.interval):
            return False
        client.socket.sendall(rest[number : number + 1])
    return True


_SENDERS: dict[Transmission, Callable[[ClientSocket, Response], bool]] = {
    Transmission.WHOLE: _send_whole,
    Transmission.NOTHING: _send_nothing,
    Transmission.CLOSE: _close,
    Transmission.RESET: _reset,
    Transmission.RESET_UNREAD: _reset,
    Transmission.HALF_STATUS_LINE: _send_half_status_line,
    Transmission.TRUNCATED_HEADERS: _send_truncated_headers,
    Transmission.TRUNCATED_BODY: _send_truncated_body,
    Transmission.INVALID_GZIP: _send_invalid_gzip,
    Transmission.GZIP_BOMB: _send_gzip_bomb,
    Transmission.CLOSE_AFTER_RESPONSE: _send_whole_and_close,
}
