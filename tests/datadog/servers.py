"""Servers on 127.0.0.1 that send scripted bytes and store the requests they receive."""

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType

from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret

API_KEY = "canary0api0key0" + "a1" * 9
APPLICATION_KEY = "canary0application0key0" + "b2" * 9
CONNECTION_ID = "12345678-90ab-cdef-1234-567890abcdef"


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """A request as received; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    connection_number: int
    body: bytes = b""


type Play = Callable[[socket.socket, threading.Event], None]


@dataclass
class ScriptedServer:
    """Runs one script per request, and repeats the last one. `address` is host:port."""

    plays: list[Play]
    tls: ssl.SSLContext | None = None
    # Run on a new connection instead of reading from it.
    on_accept: Play | None = None
    seen: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> "ScriptedServer":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_over = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
        for connection in self._open:
            connection.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.seen]

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._start(self._talk, connection, self.connections)

    def _talk(self, connection: socket.socket, number: int) -> None:
        # The client disconnects, refuses the certificate or is cut off, as the test intends.
        with contextlib.suppress(OSError):
            if self.on_accept is not None:
                self.on_accept(connection, self._is_over)
                return
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while head := read_head(connection):
                seen = _parse(head, number=number)
                body = read_body(connection, length=int(seen.headers.get("content-length", 0)))
                self.seen.append(replace(seen, body=body))
                play = self.plays[min(len(self.seen), len(self.plays)) - 1]
                play(connection, self._is_over)


def read_head(connection: socket.socket) -> bytes:
    """A request up to its empty line; b"" if the client disconnected."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte, so that a body after it stays unread.
        piece = connection.recv(1)
        if not piece:
            return b""
        head += piece
    return head


def read_body(connection: socket.socket, *, length: int) -> bytes:
    """This many bytes; fewer if the client disconnected."""
    body = b""
    while len(body) < length and (piece := connection.recv(length - len(body))):
        body += piece
    return body


def _parse(head: bytes, *, number: int) -> ReceivedRequest:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    return ReceivedRequest(
        method=method,
        target=target,
        headers={name.lower(): value for name, value in headers.items()},
        connection_number=number,
    )


def http_response(
    status: str = "200 OK",
    body: bytes = b"{}\n",
    *,
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    """A complete response. `length` overrides the Content-Length."""
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body) if length is None else length),
    } | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body


def json_response(document: object, *, status: str = "200 OK") -> bytes:
    return http_response(status, json.dumps(document).encode())


def gzip_response(body: bytes, *, status: str = "200 OK", cut: int | None = None) -> bytes:
    packed = gzip.compress(body)[:cut]
    return http_response(status, packed, headers={"Content-Encoding": "gzip"})


def respond(data: bytes) -> Play:
    """Respond and keep the connection open."""
    return lambda connection, _: connection.sendall(data)


def respond_and_close(data: bytes) -> Play:
    """Respond, then close the connection normally."""

    def play(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return play


def respond_and_reset(data: bytes = b"") -> Play:
    """Respond, wait until the client received it, then reset the connection."""

    def play(connection: socket.socket, is_over: threading.Event) -> None:
        if data:
            connection.sendall(data)
            # The client has received it once our send queue is empty; a reset would drop the rest.
            is_over.wait(0.1)
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()

    return play


def respond_and_wait(data: bytes = b"") -> Play:
    """Respond, then send nothing until the client disconnects."""

    def play(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(data)
        connection.recv(1)

    return play


def respond_and_drip(
    data: bytes, *, drop: bytes, pause_seconds: float = 0.02, drops: int = 1_000
) -> Play:
    """Respond, then send `drop` until the client disconnects; not forever, or a client without a
    deadline would hang the test instead of failing it."""

    def play(connection: socket.socket, is_over: threading.Event) -> None:
        connection.sendall(data)
        for _ in range(drops):
            if is_over.wait(pause_seconds):
                return
            connection.sendall(drop)

    return play


def key_pair() -> KeyPair:
    """The two keys that a client uses."""
    return KeyPair(api_key=Secret(API_KEY), application_key=Secret(APPLICATION_KEY))
