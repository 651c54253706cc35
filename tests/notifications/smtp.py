"""A mail server on 127.0.0.1 that stores messages and fails in configured ways."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class MailServer:
    """`faults` has the fault of each connection; the last repeats, and "" is no fault.

    "451": refuses temporarily after the text; "550": refuses the address; "535": refuses the
    password; "hang": never sends a greeting; "cut": disconnects after the text; "drip": sends its
    greeting one byte at a time; "hang at quit": accepts the mail and never answers QUIT.
    """

    faults: list[str] = field(default_factory=lambda: [""])
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    starttls: ssl.SSLContext | None = None
    port: int = 0

    def __enter__(self) -> "MailServer":
        self.is_over = threading.Event()
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                owner.connections += 1
                fault = owner.faults[min(owner.connections, len(owner.faults)) - 1]
                session = _Session(owner, self, fault)
                with contextlib.suppress(OSError):
                    session.run()
                session.connection.close()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def get_request(self) -> tuple[socket.socket, Any]:
                accepted, address = super().get_request()
                return (
                    (owner.tls.wrap_socket(accepted, server_side=True), address)
                    if owner.tls
                    else (accepted, address)
                )

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    @property
    def mailers(self) -> dict[str, Any]:
        """The value of the setting MAILERS for this server."""
        options = {"host": "127.0.0.1", "port": self.port, "timeout": 8, "use_ssl": bool(self.tls)}
        return {
            "default": {
                "BACKEND": "connections.notifications.email_backend.EmailBackend",
                "OPTIONS": options,
            }
        }


class _Session:
    def __init__(
        self, server: MailServer, handler: socketserver.StreamRequestHandler, fault: str
    ) -> None:
        self._server = server
        self._read: Callable[[], bytes] = handler.rfile.readline
        self._write: Callable[[bytes], int] = handler.wfile.write
        self.connection: socket.socket = handler.connection
        self._fault = fault

    def run(self) -> None:
        if self._fault == "hang":
            self._server.is_over.wait(20)
            return
        if self._fault == "drip":
            self._drip()
            return
        self._send_line("220 ready")
        while line := self._read().decode().strip():
            if not self._respond(line):
                return

    def _drip(self) -> None:
        for _ in range(200):
            if self._server.is_over.wait(0.05):
                return
            self._write(b"2")

    def _respond(self, line: str) -> bool:
        verb = line.upper().split(" ")[0]
        if verb == "EHLO":
            self._send_line("250-here")
            if self._server.starttls:
                self._send_line("250-STARTTLS")
            self._send_line("250 AUTH PLAIN")
        elif verb == "STARTTLS" and self._server.starttls:
            self._send_line("220 go on")
            secured = self._server.starttls.wrap_socket(self.connection, server_side=True)
            self._read, self._write = secured.makefile("rb").readline, secured.send
            self.connection = secured
        elif verb == "AUTH":
            self._send_line(
                f"535 not with {line.split(' ')[-1]}" if self._fault == "535" else "235 in"
            )
        elif verb == "RCPT":
            self._recipient(line)
        elif verb == "DATA":
            return self._data()
        elif verb == "QUIT":
            if self._fault == "hang at quit":
                self._server.is_over.wait(20)
                return False
            self._send_line("221 bye")
            return False
        else:
            self._send_line("250 fine")
        return True

    def _recipient(self, line: str) -> None:
        if self._fault == "550":
            self._send_line(f"550 no such user {line[8:]} here")
            return
        self._server.recipients.append(line[8:].strip("<> :"))
        self._send_line("250 fine")

    def _data(self) -> bool:
        self._send_line("354 go on")
        text = b""
        while (line := self._read()) not in {b".\r\n", b""}:
            text += line
        if self._fault == "cut":
            return False
        if self._fault == "451":
            self._send_line("451 later\u202e please")
            return True
        parsed = message_from_bytes(text, policy=policy.default)
        self._server.messages.append(parsed)
        self._send_line("250 kept")
        return True

    def _send_line(self, text: str) -> None:
        self._write(f"{text}\r\n".encode())
