"""HTTP connections that track how far each request has come, with one deadline per request."""

import contextlib
import functools
import http.client
import os
import queue
import re
import socket
import ssl
import threading
import time
from contextvars import ContextVar
from enum import Enum, auto
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import requests.adapters
import requests.utils
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from connections.core import boot_clock
from connections.core.causes import Cause

type Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

# Limits how many threads wait for a name server that never responds.
_MAX_LOOKUPS_AT_ONCE = 32
_lookup_slots = threading.BoundedSemaphore(_MAX_LOOKUPS_AT_ONCE)


def look_up(host: str, port: int) -> list[Address]:
    """The addresses from `getaddrinfo`. Blocks without a limit. Raises OSError or ValueError."""
    results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in results]  # type: ignore[misc]


def resolve(*, host: str, port: int, timeout_seconds: float) -> list[Address]:
    """The addresses of `host`, within `timeout_seconds`.

    Raises OSError: the system's own if the name doesn't resolve, and TimeoutError if it doesn't
    resolve in time or too many lookups are already waiting.
    """
    if not _lookup_slots.acquire(blocking=False):
        raise TimeoutError("Too many name lookups are hanging.")
    results: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
    worker = threading.Thread(
        target=_look_up_into,
        kwargs={"results": results, "host": host, "port": port},
        name="datadog-resolver",
        daemon=True,
    )
    try:
        worker.start()
    except RuntimeError:
        _lookup_slots.release()
        raise
    try:
        result = results.get(timeout=max(timeout_seconds, 0))
    except queue.Empty:
        raise TimeoutError("The name did not resolve in time.") from None
    if isinstance(result, OSError):
        raise result
    return result


def _look_up_into(
    *, results: "queue.SimpleQueue[list[Address] | OSError]", host: str, port: int
) -> None:
    try:
        results.put(look_up(host, port))
    except OSError as error:
        results.put(error)
    except ValueError:
        # An empty or overlong label fails during encoding, before any lookup.
        results.put(OSError("This is not a host name."))
    finally:
        _lookup_slots.release()


class Phase(Enum):
    """How far a request has come. Before SENDING, no byte of it has left."""

    RESOLVING = auto()
    CONNECTING = auto()
    TUNNELLING = auto()
    HANDSHAKE = auto()
    READY = auto()
    SENDING = auto()


class Deadline:
    """The time limit of one request or email. It starts when the object is created.

    When it passes, a timer shuts the connection down at the TCP level. That ends every wait,
    including one for a response that arrives a few bytes at a time. The timer uses a duplicate of
    the socket, because during a TLS handshake no other object here has it, and because
    `SSLSocket.shutdown` would pass encrypted bytes to the waiting reader as plain text. After
    `finish()` returns, the timer can no longer act, so it never affects a later request on the same
    connection.
    """

    def __init__(self, *, deadline_seconds: float, connect_seconds: float) -> None:
        started_at = time.monotonic()
        self._deadline = started_at + deadline_seconds
        self._connect_deadline = min(self._deadline, started_at + connect_seconds)
        self._lock = threading.Lock()
        self._is_finished = False
        self._duplicate: socket.socket | None = None
        self._timer = threading.Timer(deadline_seconds, self._expire)
        self._timer.daemon = True
        self.has_expired = False

    def start(self) -> None:
        """Start the timer. Raises RuntimeError when no thread can be started."""
        self._timer.start()

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the deadline, at least 0.001, because 0 tells a socket not to wait."""
        return max(self._deadline - time.monotonic(), 0.001)

    @property
    def remaining_connect_seconds(self) -> float:
        """Seconds left for connecting, at least 0.001."""
        return max(self._connect_deadline - time.monotonic(), 0.001)

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed.

        Also reads the clock, because a socket's own timeout can fire just before the timer, and in
        a process that was frozen the timer is late.
        """
        return self.has_expired or time.monotonic() >= self._deadline

    def attach(self, file_descriptor: int) -> None:
        """Let the deadline shut this connection down, unless it has already passed."""
        duplicate = socket.socket(fileno=os.dup(file_descriptor))
        with self._lock:
            previous, self._duplicate = self._duplicate, duplicate
        if previous is not None:
            previous.close()

    def finish(self) -> None:
        """Cancel the deadline. It can't be started again."""
        self._timer.cancel()
        with self._lock:
            self._is_finished = True
            if self._duplicate is not None:
                self._duplicate.close()
                self._duplicate = None

    def _expire(self) -> None:
        with self._lock:
            if self._is_finished:
                return
            self.has_expired = True
            if self._duplicate is not None:
                # An error means that it is already closed, so nothing waits for it.
                with contextlib.suppress(OSError):
                    self._duplicate.shutdown(socket.SHUT_RDWR)


class Exchange(Deadline):
    """The progress and result of one HTTP request, with its deadline."""

    def __init__(
        self, *, deadline_seconds: float, connect_seconds: float, send_by: float | None = None
    ) -> None:
        super().__init__(deadline_seconds=deadline_seconds, connect_seconds=connect_seconds)
        self._started_at = time.monotonic()
        self._send_by = send_by
        self.phase = Phase.RESOLVING
        self.status: int | None = None
        self.cause: Cause | None = None

    def begin_sending(self) -> None:
        """Let the first byte be written. Raises TimeoutError, as proof that none was."""
        before, self.phase = self.phase, Phase.SENDING
        # Nothing else happens between this look at the clock and the write.
        if self._send_by is not None and boot_clock.seconds_since_boot() > self._send_by:
            self.phase, self.cause = before, Cause.FIRST_BYTE_TOO_LATE
            raise TimeoutError("It is too late for the first byte.")

    @property
    def has_request_left(self) -> bool:
        """Whether the first byte might have left. True from just before it is written."""
        return self.phase is Phase.SENDING

    @property
    def duration_ms(self) -> int:
        """Whole milliseconds since the exchange was created."""
        return int((time.monotonic() - self._started_at) * 1000)

    def explain(self) -> Cause:
        """Why no complete status line was received."""
        if self.cause is not None:
            return self.cause
        if self.has_request_left:
            return Cause.NO_ANSWER_IN_TIME if self.is_overdue else Cause.CONNECTION_LOST
        return Cause.CONNECT_TIMEOUT if self.is_overdue else Cause.CLIENT_FAILURE


# urllib3 can't pass this object to a connection. Each thread has its own value.
current_exchange: ContextVar[Exchange] = ContextVar("current_exchange")


def cause_of_connect_failure(*, phase: Phase, error: Exception, is_proxied: bool) -> Cause:
    """Why connecting failed, given the phase that failed."""
    if phase is Phase.RESOLVING:
        return Cause.PROXY_UNREACHABLE if is_proxied else Cause.NAME_NOT_RESOLVED
    if phase is Phase.CONNECTING and is_proxied:
        return Cause.PROXY_UNREACHABLE
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause.CERTIFICATE_REFUSED
    if isinstance(error, TimeoutError):
        return Cause.CONNECT_TIMEOUT
    if phase is Phase.TUNNELLING:
        return Cause.PROXY_REFUSED
    if phase is Phase.HANDSHAKE:
        return Cause.TLS_FAILED
    if isinstance(error, ConnectionRefusedError):
        return Cause.CONNECTION_REFUSED
    return Cause.HOST_UNREACHABLE


def cause_of_bad_status_line(line: bytes) -> Cause:
    """What an unusable first line means: nothing received, cut off, or not HTTP."""
    if not line:
        return Cause.CONNECTION_LOST
    return Cause.NOT_HTTP if line.endswith(b"\n") else Cause.HALF_STATUS_LINE


_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_MAX_STATUS_LINE = 8_192


class _StatusTrackingResponse(http.client.HTTPResponse):
    """A response that stores its status in the exchange as soon as the status line is complete.

    http.client accepts "HTTP/1.1 200" without a line end as a status, and discards a complete
    status line if the headers after it are cut off.
    """

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        *,
        exchange: Exchange,
    ) -> None:
        super().__init__(sock, debuglevel, method)
        self._exchange = exchange

    def _read_status(self) -> tuple[str, int, str]:
        line = self.fp.readline(_MAX_STATUS_LINE + 1)
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            if self._exchange.has_request_left and not self._exchange.has_expired:
                self._exchange.cause = cause_of_bad_status_line(line)
            raise http.client.BadStatusLine(repr(line[:100]))
        version, status, reason = match.groups(default=b"")
        # A 100 comes before the actual response. Before SENDING, the response comes from a proxy.
        if self._exchange.has_request_left and int(status) != http.HTTPStatus.CONTINUE:
            self._exchange.status = int(status)
        return version.decode("ascii"), int(status), reason.decode("latin-1")


class TrackedConnection(HTTPConnection):
    """A connection that keeps the current exchange's phase up to date."""

    exchange: Exchange
    _is_connecting = False

    @property
    def response_class(self) -> Any:  # type: ignore[override]  # http.client only calls it
        """http.client calls this to make a response."""
        return functools.partial(_StatusTrackingResponse, exchange=self.exchange)

    @property
    def is_connected(self) -> bool:
        """Whether it can be used again, which is false if bytes arrived that no request asked for.

        Bytes that TLS has already decrypted don't make the socket readable.
        """
        is_clean = not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending())
        return is_clean and super().is_connected

    def connect(self) -> None:
        """Connect. A failure here proves that the request never left."""
        self._is_connecting = True
        try:
            super().connect()
        except (OSError, http.client.HTTPException) as error:
            self.exchange.cause = cause_of_connect_failure(
                phase=self.exchange.phase,
                # When the deadline shuts the socket down, it looks as if the server had done it.
                error=TimeoutError() if self.exchange.has_expired else error,
                is_proxied=self.proxy is not None,
            )
            raise
        finally:
            self._is_connecting = False

    def send(self, data: Any) -> None:
        """Write. From just before the first byte, the request counts as having left."""
        if self.sock is None:
            self.connect()
        if not self._is_connecting:
            if self.exchange.is_overdue:
                raise TimeoutError("The deadline has passed.")
            if not self.exchange.has_request_left:
                self.exchange.begin_sending()
        super().send(data)

    def _new_conn(self) -> socket.socket:
        exchange = self.exchange
        exchange.phase = Phase.RESOLVING
        addresses = resolve(
            host=self._dns_host.strip("[]"),
            port=self.port,
            timeout_seconds=exchange.remaining_connect_seconds,
        )
        exchange.phase = Phase.CONNECTING
        connection = connect_to_one_of(addresses, deadline=exchange)
        exchange.phase = Phase.HANDSHAKE
        connection.settimeout(exchange.remaining_connect_seconds)
        return connection

    def _tunnel(self) -> None:
        self.exchange.phase = Phase.TUNNELLING
        super()._tunnel()
        self.exchange.phase = Phase.HANDSHAKE


class TrackedTLSConnection(TrackedConnection, HTTPSConnection):
    """A TrackedConnection over TLS."""


def connect_to_one_of(addresses: list[Address], *, deadline: Deadline) -> socket.socket:
    """Connect to the first address that accepts. Each gets an equal share of the remaining time.

    From now on the deadline acts on the connection. Raises OSError.
    """
    failure: OSError = OSError("The name has no address.")
    for index, (family, address) in enumerate(addresses):
        if deadline.is_overdue:
            raise TimeoutError("The deadline has passed, so no connection is opened.")
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(deadline.remaining_connect_seconds / (len(addresses) - index))
            connection.connect(address)
            deadline.attach(connection.fileno())
            if deadline.is_overdue:
                raise TimeoutError("The deadline passed before it could act on the connection.")
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


class _TrackingPool(HTTPConnectionPool):
    """The connections to one host. Each is used by one exchange at a time."""

    ConnectionCls = TrackedConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        connection.exchange = exchange = current_exchange.get()
        if connection.sock is not None:
            exchange.phase = Phase.READY
            exchange.attach(connection.sock.fileno())
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            # Another thread can take the connection immediately, so no deadline can act on it any
            # longer.
            conn.exchange.finish()
            if (conn.exchange.status or 0) < http.HTTPStatus.OK:
                conn.close()
        super()._put_conn(conn)


class _TrackingTLSPool(_TrackingPool, HTTPSConnectionPool):
    ConnectionCls = TrackedTLSConnection


_POOL_CLASSES = {"http": _TrackingPool, "https": _TrackingTLSPool}


class _Adapter(requests.adapters.HTTPAdapter):
    """Makes a session use tracked connections, always with TLS verification."""

    def __init__(self, *, context: ssl.SSLContext, size: int) -> None:
        self._context = context
        super().__init__(pool_maxsize=size, max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: object
    ) -> None:
        super().init_poolmanager(
            connections, maxsize, block=block, ssl_context=self._context, **pool_kwargs
        )
        self.poolmanager.pool_classes_by_scheme = _POOL_CLASSES

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: object) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(
            proxy,
            ssl_context=self._context,
            proxy_ssl_context=self._context,
            **proxy_kwargs,
        )
        manager.pool_classes_by_scheme = _POOL_CLASSES
        return manager

    def cert_verify(
        self, conn: HTTPSConnectionPool, url: str, verify: object, cert: object
    ) -> None:
        """Always verify. The SSL context already has the certificates."""
        conn.cert_reqs = "CERT_REQUIRED"


class Session(requests.Session):
    """A session without cookies, redirects or settings from the environment.

    It keeps up to `size` connections to a host. Raises OSError when a CA file can't be read.
    """

    def __init__(self, *, ca_files: tuple[str, str], size: int) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.clear()
        self.headers.update({"Accept": "application/json", "Accept-Encoding": "gzip"})
        adapter = _Adapter(context=tls_context(*ca_files, "http/1.1"), size=size)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Ignore redirects.

        To prepare the next request, `requests` would read a redirect's body without a limit, even
        with `allow_redirects=False`.
        """


@functools.lru_cache(maxsize=8)
def tls_context(ca_bundle: str, extra_ca_file: str, *protocols: str) -> ssl.SSLContext:
    """A TLS client context that ignores SSLKEYLOGFILE and SSL_CERT_FILE.

    `ssl.create_default_context` would obey both. It trusts the bundle, by default the public
    certificates, and the extra file. Raises OSError when one can't be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(protocols)
    bundle = ca_bundle or requests.utils.DEFAULT_CA_BUNDLE_PATH
    if os.path.isdir(bundle):
        context.load_verify_locations(capath=bundle)
    else:
        context.load_verify_locations(cafile=bundle)
    if extra_ca_file:
        context.load_verify_locations(cafile=extra_ca_file)
    return context
