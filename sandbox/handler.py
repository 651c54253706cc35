"""Reads one client's requests and answers them, with the faults that are bound to them."""

import io
import socket
import threading
from datetime import UTC, datetime
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from sandbox import control, transmission
from sandbox.fault_rules import RequestFacts
from sandbox.faults import Fault, Wire
from sandbox.responses import Request, route_of
from sandbox.world import ReceivedRequest, World

_MAX_BODY = 1024 * 1024
_PEEKED_BYTES = 65536


class Handler(BaseHTTPRequestHandler):
    """One connection of HTTP/1.1, kept alive until either end closes it."""

    protocol_version = "HTTP/1.1"

    def __init__(
        self, client: socket.socket, *, world: World, site: str, stopping: threading.Event
    ) -> None:
        self.world = world
        self.site = site
        self.line = transmission.Line(socket=client, stopping=stopping)
        # The base class wants a server only for names that are not used here.
        super().__init__(client, client.getpeername(), None)  # type: ignore[arg-type]

    def handle_one_request(self) -> None:
        """Read and answer one request, unless it is to be reset while it lies unread."""
        if self.world.faults.has(wire=Wire.RESET_UNREAD) and self._reset_unread():
            self.close_connection = True
            return
        super().handle_one_request()

    def finish(self) -> None:
        """Close the files; the server closes the socket."""
        self.rfile.close()

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the journal of the world keeps what was received."""

    def answer(self) -> None:
        """Answer the request that was read, whatever its method."""
        request = self._request(headers=dict(self.headers.items()), body=self._body())
        if request.path.startswith(control.PREFIX):
            keep = transmission.send(
                line=self.line,
                answer=control.answer_to(request=request, world=self.world),
                fault=None,
            )
        else:
            keep = self._answer_as_datadog(request=request)
        self.close_connection = self.close_connection or not keep

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer

    def _answer_as_datadog(self, *, request: Request) -> bool:
        facts = self._facts(request=request)
        fault = self.world.faults.take(facts=facts)
        number = self._record(request=request, facts=facts, fault=fault)
        if fault is not None and fault.late and not self.line.pause(seconds=fault.late):
            return False
        answer = transmission.proper_answer(request=request, world=self.world, fault=fault)
        if answer.effect:
            self.world.journal.mark_executed(number=number)
        if fault is not None:
            answer = transmission.shaped(answer=answer, fault=fault, request=request)
        return transmission.send(line=self.line, answer=answer, fault=fault)

    def _reset_unread(self) -> bool:
        head = self.connection.recv(_PEEKED_BYTES, socket.MSG_PEEK)
        first, _, rest = head.partition(b"\r\n")
        words = first.decode("latin-1").split(" ")
        if len(words) != 3:
            return False
        self.command, self.path = words[0], words[1]
        headers = parse_headers(io.BytesIO(rest))
        request = self._request(headers=dict(headers.items()), body=b"")
        facts = self._facts(request=request)
        fault = self.world.faults.take(facts=facts, only=Wire.RESET_UNREAD)
        if fault is None:
            return False
        self._record(request=request, facts=facts, fault=fault)
        self.line.pause(seconds=fault.delay)
        self.line.reset()
        return True

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(min(int(length), _MAX_BODY)) if length.isdecimal() else b""

    def _request(self, *, headers: dict[str, str], body: bytes) -> Request:
        target = urlsplit(self.path)
        return Request(
            method=self.command,
            path=target.path,
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in headers.items()},
            body=body,
            site=self.site,
        )

    def _facts(self, *, request: Request) -> RequestFacts:
        route = route_of(method=request.method, path=request.path)
        org = self.world.api_key_org(api_key=request.headers.get("dd-api-key", ""), site=self.site)
        return RequestFacts(
            operation=route.operation,
            site=self.site,
            org=org.id if org else None,
            connection_id=route.connection_id,
        )

    def _record(self, *, request: Request, facts: RequestFacts, fault: Fault | None) -> int:
        return self.world.journal.record(
            request=ReceivedRequest(
                method=request.method,
                path=request.path,
                query=urlsplit(self.path).query,
                site=self.site,
                org=facts.org,
                connection_id=facts.connection_id,
                received_at=datetime.now(UTC),
                executed=False,
                fault=fault.name if fault else None,
                header_names=tuple(request.headers),
                user_agent=request.headers.get("user-agent", ""),
            )
        )
