"""Reads the requests of one client and responds to them."""

import io
import socket
import threading
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from sandbox import control
from sandbox.faults import Transmission
from sandbox.faulty_responses import log_request, respond_with_fault, take_fault
from sandbox.responses import Request
from sandbox.transmission import ClientSocket, send
from sandbox.world import World

_MAX_BODY = 1024 * 1024
_PEEKED_BYTES = 65536


class Handler(BaseHTTPRequestHandler):
    """Serves one HTTP/1.1 connection, which stays open until either side closes it."""

    protocol_version = "HTTP/1.1"

    def __init__(
        self, client: socket.socket, *, world: World, site: str, stopping: threading.Event
    ) -> None:
        self.world = world
        self.site = site
        self.client = ClientSocket(socket=client, stopping=stopping)
        # The base class uses its server argument only for host names, which aren't used here.
        super().__init__(client, client.getpeername(), None)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        """Respond to one request, unless a fault resets the connection before it is read."""
        if self.world.fault_rules.has(Transmission.RESET_UNREAD) and self._reset_unread():
            self.close_connection = True
            return
        super().handle_one_request()

    def finish(self) -> None:
        """Close the file. The server closes the socket."""
        self.rfile.close()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing, because the world logs its requests."""

    def respond(self) -> None:
        """Respond to the request that was read, whatever its method."""
        request = self._request(headers=dict(self.headers.items()), body=self._body())
        if request.path.startswith(control.PREFIX):
            response = control.respond(request=request, world=self.world)
            is_kept = send(client=self.client, response=response, fault=None)
        else:
            is_kept = self._respond_as_datadog(request)
        self.close_connection = self.close_connection or not is_kept

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = respond

    def _respond_as_datadog(self, request: Request) -> bool:
        fault = take_fault(request=request, world=self.world)
        number = log_request(request=request, world=self.world, fault=fault)
        if fault is not None and fault.late and not self.client.pause(seconds=fault.late):
            return False
        response = respond_with_fault(request=request, world=self.world, fault=fault, number=number)
        return send(client=self.client, response=response, fault=fault)

    def _reset_unread(self) -> bool:
        head = self.connection.recv(_PEEKED_BYTES, socket.MSG_PEEK)
        request_line, _, rest = head.partition(b"\r\n")
        parts = request_line.decode("latin-1").split(" ")
        if len(parts) != 3:
            return False
        self.command, self.path = parts[0], parts[1]
        headers = parse_headers(io.BytesIO(rest))
        request = self._request(headers=dict(headers.items()), body=b"")
        fault = take_fault(request=request, world=self.world, only=Transmission.RESET_UNREAD)
        if fault is None:
            return False
        log_request(request=request, world=self.world, fault=fault)
        self.client.pause(seconds=fault.delay)
        self.client.reset()
        return True

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(min(int(length), _MAX_BODY)) if length.isdecimal() else b""

    def _request(self, *, headers: dict[str, str], body: bytes) -> Request:
        url = urlsplit(self.path)
        return Request(
            method=self.command,
            path=url.path,
            query_string=url.query,
            headers={name.lower(): value for name, value in headers.items()},
            body=body,
            site=self.site,
        )
