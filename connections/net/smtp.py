"""SMTP connections with one deadline per message."""

import contextlib
import smtplib
import socket
import threading
from typing import Any

from connections.net.resolver import resolve

# For one message, from the name lookup to the server's last response.
DEADLINE_SECONDS = 20.0


class Deadline:
    """Shuts the connections down when the time is over."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._has_expired = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def attach(self, connection: socket.socket) -> None:
        """Let the deadline shut this connection down. Raises TimeoutError when it has passed."""
        with self._lock:
            # A duplicate, since TLS takes over the original socket.
            self._sockets.append(connection.dup())
            if self._has_expired:
                raise TimeoutError("The deadline has passed.")

    def finish(self) -> None:
        self._timer.cancel()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def _expire(self) -> None:
        with self._lock:
            self._has_expired = True
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class Bounded(smtplib.SMTP):
    def __init__(self, *args: Any, deadline: Deadline, **kwargs: Any) -> None:
        self._deadline = deadline
        super().__init__(*args, **kwargs)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = _connect(host, port, timeout)
        self._deadline.attach(connection)
        return connection


class BoundedTLS(smtplib.SMTP_SSL):
    def __init__(self, *args: Any, deadline: Deadline, **kwargs: Any) -> None:
        self._deadline = deadline
        super().__init__(*args, **kwargs)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = _connect(host, port, timeout)
        self._deadline.attach(connection)
        return self.context.wrap_socket(connection, server_hostname=host)


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address that accepts. `smtplib`'s own name lookup has no timeout."""
    failure = OSError("The name has no address.")
    for _, address in resolve(host=host, port=port, timeout_seconds=timeout):
        try:
            return socket.create_connection(address[:2], timeout)
        except OSError as error:
            failure = error
    raise failure
