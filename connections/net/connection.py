"""One request and its answer, as facts: what left, what came, and whether time ran out."""

import http.client
import re
import socket
import ssl
import threading
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from connections.core.causes import Cause
from connections.net.resolver import Address, resolve

if TYPE_CHECKING:
    pass
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import requests
import requests.adapters
import requests.utils
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager


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


_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_MAX_STATUS_LINE = 8_192


class _KeptStatusResponse(http.client.HTTPResponse):
    """A response that reports its status line as soon as it is whole.

    The library itself takes "HTTP/1.1 200" without a line end for a status, and forgets a
    whole one when the headers behind it are cut.
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
        # A 100 announces the answer and is none; before SENDING it is a proxy that speaks.
        if self._exchange.has_request_left and int(status) != http.HTTPStatus.CONTINUE:
            self._exchange.status = int(status)
        return version.decode("ascii"), int(status), reason.decode("latin-1")


class TrackedConnection(HTTPConnection):
    """A connection that tells its lane's exchange how far it has come."""

    def __init__(self, *args: Any, lane: "PooledConnection", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lane = lane
        lane.connection = self
        self._is_connecting = False
        self.response_class = self._build_response  # type: ignore[assignment]  # a factory does

    def connect(self) -> None:
        """Connect; a failure here is proof that the request never left."""
        self._is_connecting = True
        try:
            super().connect()
        except (OSError, http.client.HTTPException) as error:
            exchange = self._lane.exchange
            exchange.cause = cause_of_connect_failure(
                step=exchange.step,
                # The deadline's own cut looks like the far end's.
                error=TimeoutError() if exchange.has_expired else error,
                is_proxied=self.proxy is not None,
            )
            raise
        finally:
            self._is_connecting = False

    def send(self, data: Any) -> None:
        """Write; from just before the first byte on, the request counts as having left."""
        if self.sock is None:
            self.connect()
        if not self._is_connecting:
            self._lane.exchange.raise_if_expired()
            self._lane.exchange.step = Phase.SENDING
        super().send(data)

    def _new_conn(self) -> socket.socket:
        exchange = self._lane.exchange
        exchange.step = Phase.RESOLVING
        addresses = resolve(
            host=self._dns_host.strip("[]"),
            port=self.port,
            timeout_seconds=exchange.remaining_connect_seconds,
        )
        exchange.step = Phase.CONNECTING
        connection = _connect_to_one_of(addresses, exchange=exchange)
        self._lane.take_kill_switch(connection.dup())
        exchange.step = Phase.HANDSHAKE
        connection.settimeout(exchange.remaining_connect_seconds)
        return connection

    def _tunnel(self) -> None:
        self._lane.exchange.step = Phase.TUNNELLING
        super()._tunnel()
        self._lane.exchange.step = Phase.HANDSHAKE

    def _build_response(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None
    ) -> _KeptStatusResponse:
        return _KeptStatusResponse(sock, debuglevel, method, exchange=self._lane.exchange)


class TrackedTLSConnection(TrackedConnection, HTTPSConnection):
    """The same over TLS."""


def _connect_to_one_of(addresses: list[Address], *, exchange: Exchange) -> socket.socket:
    """The first address that answers; each gets its share of the time that is left."""
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


# A connection that has been quiet for longer may be gone without our knowing, and a DELETE
# lost on it would be an unknown for nothing.
MAX_IDLE_SECONDS = 10.0
MAX_IDLE_CONNECTIONS = 16


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where requests go and how; connections are shared by whoever has the same route."""

    base_url: str
    proxy_url: str | None = field(repr=False)
    ca_bundle: str | None


class _PooledAdapter(requests.adapters.HTTPAdapter):
    """Routes a session's one connection through its lane, with TLS verification always on."""

    def __init__(self, *, lane: "PooledConnection", context: ssl.SSLContext) -> None:
        self._lane = lane
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
        """Verify, whatever was asked for; the context holds the certificates already."""
        conn.cert_reqs = "CERT_REQUIRED"

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        assert isinstance(pool, HTTPConnectionPool)  # noqa: S101 - narrows what the stubs leave open
        kind = TrackedTLSConnection if pool.scheme == "https" else TrackedConnection
        pool.ConnectionCls = functools.partial(kind, lane=self._lane)  # type: ignore[assignment]
        return pool


class _Session(requests.Session):
    """A session that sees no redirect: `requests` would read a redirect's body without bound
    to prepare the next request, even with `allow_redirects=False`."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class PooledConnection:
    """One connection, lent to one exchange at a time."""

    def __init__(self, *, route: Endpoint, user_agent: str) -> None:
        self.exchange: Exchange
        self.connection: TrackedConnection | None = None
        self.response: requests.Response | None = None
        self._kill_switch: socket.socket | None = None
        self.answered_at = 0.0
        self.session = _Session()
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.proxies = (
            {"http": route.proxy_url, "https": route.proxy_url} if route.proxy_url else {}
        )
        self.session.headers.clear()
        self.session.headers.update(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": user_agent}
        )
        adapter = _PooledAdapter(lane=self, context=_tls_context(route.ca_bundle))
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)

    def begin(self, exchange: Exchange) -> None:
        """Lend the lane. Raises TimeoutError when the exchange is over already."""
        self.exchange = exchange
        self.response = None
        if self._kill_switch is not None:
            exchange.step = Phase.READY
            exchange.attach(self._kill_switch)

    def take_kill_switch(self, kill_switch: socket.socket) -> None:
        """Let the deadline reach a fresh connection, from before its TLS handshake on."""
        if self._kill_switch is not None:
            self._kill_switch.close()
        self._kill_switch = kill_switch
        self.exchange.attach(kill_switch)

    @property
    def has_leftovers(self) -> bool:
        """Whether TLS holds bytes beyond the answer: they would be read as the next one.

        Leftovers that TLS has not decrypted yet make the socket readable, and urllib3 replaces
        such a connection before it sends.
        """
        connection = self.connection.sock if self.connection is not None else None
        return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0

    def rest(self) -> None:
        """Go idle: the answer was read to its end. Its request, which holds keys, is let go."""
        self.response = None
        self.answered_at = time.monotonic()

    def close(self) -> None:
        """End the connection. Its exchange is finished, so no deadline acts on it."""
        if self.response is not None:
            self.response.close()
            self.response = None
        if self.connection is not None:
            self.connection.close()
        self.session.close()
        if self._kill_switch is not None:
            self._kill_switch.close()
            self._kill_switch = None


class ConnectionPool:
    """The warm lanes of this process, by route. Safe for threads and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Endpoint, list[PooledConnection]] = {}

    def take(self, *, route: Endpoint, user_agent: str) -> PooledConnection:
        """A lane that answered within the last 10 seconds, else a new one."""
        stale: list[PooledConnection] = []
        found = None
        oldest = time.monotonic() - MAX_IDLE_SECONDS
        with self._lock:
            idle = self._idle.get(route, [])
            while idle and found is None:
                lane = idle.pop()
                if lane.answered_at >= oldest:
                    found = lane
                else:
                    stale.append(lane)
        for lane in stale:
            lane.close()
        return found or PooledConnection(route=route, user_agent=user_agent)

    def give_back(self, *, route: Endpoint, lane: PooledConnection) -> None:
        """Keep a lane whose last answer was read to its end."""
        lane.rest()
        with self._lock:
            idle = self._idle.setdefault(route, [])
            idle.append(lane)
            surplus = idle.pop(0) if len(idle) > MAX_IDLE_CONNECTIONS else None
        if surplus is not None:
            surplus.close()

    def close_all(self) -> None:
        """End every idle connection."""
        with self._lock:
            lanes = [lane for idle in self._idle.values() for lane in idle]
            self._idle.clear()
        for lane in lanes:
            lane.close()

    def forget_after_fork(self) -> None:
        """In a forked child: the connections belong to the parent, and so does the lock."""
        self._lock = threading.Lock()
        self.close_all()


POOL = ConnectionPool()
os.register_at_fork(after_in_child=POOL.forget_after_fork)


@functools.lru_cache(maxsize=8)
def _tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Made by hand: the ready-made ones obey SSLKEYLOGFILE and SSL_CERT_FILE.

    Raises OSError when the bundle cannot be read.
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
