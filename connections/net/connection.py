"""Pooled HTTP connections that know how far each request has come, with one deadline for it."""

import functools
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import requests.adapters
import requests.utils
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from connections.core.causes import Cause
from connections.net.resolver import Address, resolve


class Phase(Enum):
    """How far a request has come. Before SENDING, no byte of it has left."""

    RESOLVING = auto()
    CONNECTING = auto()
    TUNNELLING = auto()
    HANDSHAKE = auto()
    READY = auto()
    SENDING = auto()


class Exchange:
    """The progress and result of one request. Its deadline runs from when the object is created.

    When the deadline passes, a timer shuts the connection down at the TCP level. That ends
    every wait, including one for a response that arrives a few bytes at a time. The timer uses a
    duplicate of the socket, because during a TLS handshake no other object here holds it, and
    because `SSLSocket.shutdown` would hand encrypted bytes to the waiting reader as plain text.
    After `finish()` returns, the timer can't act any more, so it never affects a later
    request on the same connection.
    """

    def __init__(self, *, deadline_seconds: float, connect_seconds: float) -> None:
        self._started_at = time.monotonic()
        self._deadline = self._started_at + deadline_seconds
        self._connect_deadline = min(self._deadline, self._started_at + connect_seconds)
        self._lock = threading.Lock()
        self._is_finished = False
        self._deadline_socket: socket.socket | None = None
        self._timer = threading.Timer(deadline_seconds, self._expire)
        self._timer.daemon = True
        self.phase = Phase.RESOLVING
        self.has_expired = False
        self.status: int | None = None
        self.cause: Cause | None = None

    def start(self) -> None:
        """Start the deadline's timer. Raises RuntimeError when no thread can be started."""
        self._timer.start()

    @property
    def has_request_left(self) -> bool:
        """Whether the first byte may have left: true from just before it is written."""
        return self.phase is Phase.SENDING

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the deadline, at least 0.001: a socket takes 0 for "do not wait"."""
        return max(self._deadline - time.monotonic(), 0.001)

    @property
    def remaining_connect_seconds(self) -> float:
        """Seconds left for connecting, at least 0.001."""
        return max(self._connect_deadline - time.monotonic(), 0.001)

    @property
    def duration_ms(self) -> int:
        """Whole milliseconds since the exchange was created."""
        return int((time.monotonic() - self._started_at) * 1000)

    def attach(self, deadline_socket: socket.socket) -> None:
        """Let the deadline shut this connection down. Raises TimeoutError when it has passed."""
        with self._lock:
            self._deadline_socket = deadline_socket
        self.raise_if_expired()

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed. This reads the clock too: a socket's own timeout can
        fire just before the timer, and in a process that was frozen the timer is late."""
        return self.has_expired or time.monotonic() >= self._deadline

    def raise_if_expired(self) -> None:
        """Raise TimeoutError once the deadline has passed, so that nothing new is started."""
        if self.is_overdue:
            raise TimeoutError("The deadline has passed.")

    def finish(self) -> None:
        """Cancel the deadline. It can't be started again."""
        with self._lock:
            self._is_finished = True
            self._deadline_socket = None
        self._timer.cancel()

    def explain(self) -> Cause:
        """Why no complete status line was received."""
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
            if self._deadline_socket is not None:
                shut_down(self._deadline_socket)


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


def shut_down(connection: socket.socket) -> None:
    """Shut down both directions at the TCP level. Does nothing if the connection is closed."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Not connected yet, or closed by the server: nothing is waiting on it.
        return


_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_MAX_STATUS_LINE = 8_192


class _StatusTrackingResponse(http.client.HTTPResponse):
    """A response that stores its status in the exchange as soon as the status line is complete.

    http.client accepts "HTTP/1.1 200" without a line end as a status, and discards a complete
    status line when the headers after it are cut off.
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
        # A 100 comes before the actual response; before SENDING, the response is a proxy's.
        if self._exchange.has_request_left and int(status) != http.HTTPStatus.CONTINUE:
            self._exchange.status = int(status)
        return version.decode("ascii"), int(status), reason.decode("latin-1")


class TrackedConnection(HTTPConnection):
    """A connection that keeps the current exchange's phase up to date."""

    def __init__(self, *args: Any, pooled: "PooledConnection", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pooled = pooled
        pooled.connection = self
        self._is_connecting = False
        self.response_class = self._build_response  # type: ignore[assignment]  # a factory works too

    def connect(self) -> None:
        """Connect. A failure here proves that the request never left."""
        self._is_connecting = True
        try:
            super().connect()
        except (OSError, http.client.HTTPException) as error:
            exchange = self._pooled.exchange
            exchange.cause = cause_of_connect_failure(
                phase=exchange.phase,
                # When the deadline shuts the socket down, it looks as if the server did.
                error=TimeoutError() if exchange.has_expired else error,
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
            self._pooled.exchange.raise_if_expired()
            self._pooled.exchange.phase = Phase.SENDING
        super().send(data)

    def _new_conn(self) -> socket.socket:
        exchange = self._pooled.exchange
        exchange.phase = Phase.RESOLVING
        addresses = resolve(
            host=self._dns_host.strip("[]"),
            port=self.port,
            timeout_seconds=exchange.remaining_connect_seconds,
        )
        exchange.phase = Phase.CONNECTING
        connection = _connect_to_one_of(addresses, exchange=exchange)
        self._pooled.attach_socket(connection.dup())
        exchange.phase = Phase.HANDSHAKE
        connection.settimeout(exchange.remaining_connect_seconds)
        return connection

    def _tunnel(self) -> None:
        self._pooled.exchange.phase = Phase.TUNNELLING
        super()._tunnel()
        self._pooled.exchange.phase = Phase.HANDSHAKE

    def _build_response(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None
    ) -> _StatusTrackingResponse:
        return _StatusTrackingResponse(sock, debuglevel, method, exchange=self._pooled.exchange)


class TrackedTLSConnection(TrackedConnection, HTTPSConnection):
    """A TrackedConnection over TLS."""


def _connect_to_one_of(addresses: list[Address], *, exchange: Exchange) -> socket.socket:
    """Connect to the first address that accepts. Each gets an equal share of the time left."""
    failure: OSError = OSError("The name has no address.")
    for index, (family, address) in enumerate(addresses):
        exchange.raise_if_expired()
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(exchange.remaining_connect_seconds / (len(addresses) - index))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


# The server may have dropped a connection that was idle for longer without our noticing. A DELETE
# lost on it would end with an unknown outcome that a new connection avoids.
MAX_IDLE_SECONDS = 10.0
MAX_IDLE_CONNECTIONS = 16


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where requests go and how. Requests to equal endpoints share pooled connections."""

    base_url: str
    proxy_url: str | None = field(repr=False)
    ca_bundle: str | None


class _PooledAdapter(requests.adapters.HTTPAdapter):
    """Makes a session use tracked connections, always with TLS verification."""

    def __init__(self, *, pooled: "PooledConnection", context: ssl.SSLContext) -> None:
        self._pooled = pooled
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: object
    ) -> None:
        super().init_poolmanager(
            connections, maxsize, block=block, ssl_context=self._context, **pool_kwargs
        )

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: object) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(
            proxy,
            ssl_context=self._context,
            proxy_ssl_context=self._context,
            **proxy_kwargs,
        )
        return manager

    def cert_verify(
        self, conn: HTTPSConnectionPool, url: str, verify: object, cert: object
    ) -> None:
        """Always verify. The SSL context already holds the certificates."""
        conn.cert_reqs = "CERT_REQUIRED"

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        assert isinstance(pool, HTTPConnectionPool)  # noqa: S101 - for mypy
        kind = TrackedTLSConnection if pool.scheme == "https" else TrackedConnection
        pool.ConnectionCls = functools.partial(kind, pooled=self._pooled)  # type: ignore[assignment]
        return pool


class _Session(requests.Session):
    """A session that ignores redirects: `requests` would read a redirect's body without a limit
    to prepare the next request, even with `allow_redirects=False`."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class PooledConnection:
    """One connection with its session, used by one exchange at a time."""

    def __init__(self, *, endpoint: Endpoint, user_agent: str) -> None:
        self.exchange: Exchange
        self.connection: TrackedConnection | None = None
        self.response: requests.Response | None = None
        self._deadline_socket: socket.socket | None = None
        self.released_at = 0.0
        self.session = _Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.proxies = (
            {"http": endpoint.proxy_url, "https": endpoint.proxy_url} if endpoint.proxy_url else {}
        )
        self.session.headers.clear()
        self.session.headers.update(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": user_agent}
        )
        adapter = _PooledAdapter(pooled=self, context=_tls_context(endpoint.ca_bundle))
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)

    def start(self, exchange: Exchange) -> None:
        """Use the connection for `exchange`. Raises TimeoutError when its deadline has passed."""
        self.exchange = exchange
        self.response = None
        if self._deadline_socket is not None:
            exchange.phase = Phase.READY
            exchange.attach(self._deadline_socket)

    def attach_socket(self, deadline_socket: socket.socket) -> None:
        """Let the deadline act on a new connection's socket, starting before its TLS handshake."""
        if self._deadline_socket is not None:
            self._deadline_socket.close()
        self._deadline_socket = deadline_socket
        self.exchange.attach(deadline_socket)

    @property
    def has_leftovers(self) -> bool:
        """Whether TLS holds bytes after the response, which would be read as the next response.

        Bytes that TLS has not decrypted yet make the socket readable, and urllib3 replaces
        such a connection before it sends.
        """
        connection = self.connection.sock if self.connection is not None else None
        return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0

    def mark_idle(self) -> None:
        """Mark it idle once the response is read. Drops the request, which holds keys."""
        self.response = None
        self.released_at = time.monotonic()

    def close(self) -> None:
        """Close the connection. Its exchange must be finished, so that no deadline acts on it."""
        if self.response is not None:
            self.response.close()
            self.response = None
        if self.connection is not None:
            self.connection.close()
        self.session.close()
        if self._deadline_socket is not None:
            self._deadline_socket.close()
            self._deadline_socket = None


class ConnectionPool:
    """The idle connections of this process, by endpoint. Safe for threads and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Endpoint, list[PooledConnection]] = {}

    def take(self, *, endpoint: Endpoint, user_agent: str) -> PooledConnection:
        """A connection released within the last 10 seconds, otherwise a new one."""
        stale: list[PooledConnection] = []
        found = None
        oldest = time.monotonic() - MAX_IDLE_SECONDS
        with self._lock:
            idle = self._idle.get(endpoint, [])
            while idle and found is None:
                pooled = idle.pop()
                if pooled.released_at >= oldest:
                    found = pooled
                else:
                    stale.append(pooled)
        for pooled in stale:
            pooled.close()
        return found or PooledConnection(endpoint=endpoint, user_agent=user_agent)

    def release(self, *, endpoint: Endpoint, pooled: PooledConnection) -> None:
        """Keep a connection whose last response was read to its end."""
        pooled.mark_idle()
        with self._lock:
            idle = self._idle.setdefault(endpoint, [])
            idle.append(pooled)
            surplus = idle.pop(0) if len(idle) > MAX_IDLE_CONNECTIONS else None
        if surplus is not None:
            surplus.close()

    def close_all(self) -> None:
        """Close every idle connection."""
        with self._lock:
            connections = [pooled for idle in self._idle.values() for pooled in idle]
            self._idle.clear()
        for pooled in connections:
            pooled.close()

    def forget_after_fork(self) -> None:
        """Start empty in a forked child: the parent owns the connections and the lock."""
        self._lock = threading.Lock()
        self.close_all()


POOL = ConnectionPool()
os.register_at_fork(after_in_child=POOL.forget_after_fork)


@functools.lru_cache(maxsize=8)
def _tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A TLS client context that ignores SSLKEYLOGFILE and SSL_CERT_FILE.

    `ssl.create_default_context` would obey both. Raises OSError when the bundle can't be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    bundle = ca_bundle or requests.utils.DEFAULT_CA_BUNDLE_PATH
    if os.path.isdir(bundle):
        context.load_verify_locations(capath=bundle)
    else:
        context.load_verify_locations(cafile=bundle)
    return context
