"""One request and its answer, as facts: what left, what came, and whether time ran out."""

import socket
import ssl
import threading
import time
from enum import Enum, auto

from connections.core.causes import Cause


class Phase(Enum):
    """How far an exchange has come. Before SENDING no byte of the request has left."""

    RESOLVING = auto()
    CONNECTING = auto()
    TUNNELLING = auto()
    HANDSHAKE = auto()
    READY = auto()
    SENDING = auto()


class Exchange:
    """The facts of one request. Its deadline runs from the moment it is made.

    When the deadline passes, a timer shuts the connection down at the TCP level: that ends
    every wait, also one for an answer that drips. The timer works on a duplicate of the
    socket, because during a TLS handshake no other object of ours holds it, and because
    `SSLSocket.shutdown` would hand encrypted bytes to the waiting reader as if they were plain.
    Once `finish()` has returned the timer cannot act any more, so it never hits a later
    request on the same connection.
    """

    def __init__(self, *, deadline_seconds: float, connect_seconds: float) -> None:
        self._started_at = time.monotonic()
        self._deadline = self._started_at + deadline_seconds
        self._connect_deadline = min(self._deadline, self._started_at + connect_seconds)
        self._lock = threading.Lock()
        self._is_finished = False
        self._kill_switch: socket.socket | None = None
        self._timer = threading.Timer(deadline_seconds, self._expire)
        self._timer.daemon = True
        self.step = Phase.RESOLVING
        self.has_expired = False
        self.status: int | None = None
        self.cause: Cause | None = None

    def start(self) -> None:
        """Arm the deadline. Raises RuntimeError when the machine has no thread left."""
        self._timer.start()

    @property
    def has_request_left(self) -> bool:
        """Whether the first byte may have left: from the moment before it is written."""
        return self.step is Phase.SENDING

    @property
    def remaining_seconds(self) -> float:
        """Time to the deadline; never quite zero, which sockets read as "do not wait"."""
        return max(self._deadline - time.monotonic(), 0.001)

    @property
    def remaining_connect_seconds(self) -> float:
        """Time to the end of connecting, never quite zero."""
        return max(self._connect_deadline - time.monotonic(), 0.001)

    @property
    def duration_ms(self) -> int:
        """Whole milliseconds since the exchange was made."""
        return int((time.monotonic() - self._started_at) * 1000)

    def attach(self, kill_switch: socket.socket) -> None:
        """Let the deadline act on this connection. Raises TimeoutError when it has passed."""
        with self._lock:
            self._kill_switch = kill_switch
        self.raise_if_expired()

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed, by the clock too: a socket's own time-out can be a
        moment ahead of the timer, and in a process that was frozen the timer has not run yet."""
        return self.has_expired or time.monotonic() >= self._deadline

    def raise_if_expired(self) -> None:
        """Raise TimeoutError once the deadline has passed: nothing is begun after it."""
        if self.is_overdue:
            raise TimeoutError("The deadline has passed.")

    def finish(self) -> None:
        """Disarm the deadline for good."""
        with self._lock:
            self._is_finished = True
            self._kill_switch = None
        self._timer.cancel()

    def explain(self) -> Cause:
        """Why no whole status line came."""
        if self.cause is not None:
            return self.cause
        if self.has_request_left:
            return Cause.NO_ANSWER_IN_TIME if self.is_overdue else Cause.CONNECTION_LOST
        return Cause.CONNECT_TIMEOUT if self.is_overdue else Cause.CLIENT_FAILURE

    def _expire(self) -> None:
        with self._lock:
            if self._is_finished:
                return
            self.has_expired = True
            if self._kill_switch is not None:
                shut_down(self._kill_switch)


def cause_of_connect_failure(*, step: Phase, error: Exception, is_proxied: bool) -> Cause:
    """Why no connection came to be, from the step that failed."""
    if step is Phase.RESOLVING:
        return Cause.PROXY_UNREACHABLE if is_proxied else Cause.NAME_NOT_RESOLVED
    if step is Phase.CONNECTING and is_proxied:
        return Cause.PROXY_UNREACHABLE
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause.CERTIFICATE_REFUSED
    if isinstance(error, TimeoutError):
        return Cause.CONNECT_TIMEOUT
    if step is Phase.TUNNELLING:
        return Cause.PROXY_REFUSED
    if step is Phase.HANDSHAKE:
        return Cause.TLS_FAILED
    if isinstance(error, ConnectionRefusedError):
        return Cause.CONNECTION_REFUSED
    return Cause.HOST_UNREACHABLE


def cause_of_bad_status_line(line: bytes) -> Cause:
    """What an unusable first line means: cut off, nothing at all, or no HTTP."""
    if not line:
        return Cause.CONNECTION_LOST
    return Cause.NOT_HTTP if line.endswith(b"\n") else Cause.HALF_STATUS_LINE


def shut_down(connection: socket.socket) -> None:
    """End both directions at the TCP level; a connection that is gone already is fine."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Not connected yet, or closed by the far end: nobody waits on it.
        return
