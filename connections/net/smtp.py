"""Mail over SMTP with one deadline for all of it. Knows no model."""

import contextlib
import smtplib
import socket
import threading
from typing import Any

from connections.net.resolver import resolve

# For one message, from the name's look-up to the server's last word; each wait is shorter.
DEADLINE_SECONDS = 20.0


class Deadline:
    """Shuts the connection down when the time is over, whatever the far end is doing."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._has_expired = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def attach(self, connection: socket.socket) -> None:
        """Raises TimeoutError once the time is over."""
        with self._lock:
            # A duplicate, since TLS takes the first one over.
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
    """The first address that answers. The system's own look-up would know no time-out."""
    failure = OSError("The name has no address.")
    for _, address in resolve(host=host, port=port, timeout_seconds=timeout):
        try:
            return socket.create_connection(address[:2], timeout)
        except OSError as error:
            failure = error
    raise failure
