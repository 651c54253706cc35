"""Connections to Datadog: opened within bounds, reused while warm, never used twice at once.

A lane is one `requests.Session` with at most one connection, and belongs to one exchange at
a time. It knows no key: keys travel in the headers of one request.
"""

import functools
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy

import requests
import requests.adapters
import requests.utils
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from connections.net.connection import TrackedConnection, TrackedTLSConnection
from connections.net.exchange import Exchange, Phase

# A connection that has been quiet for longer may be gone without our knowing, and a DELETE
# lost on it would be an unknown for nothing.
MAX_IDLE_SECONDS = 10.0
MAX_IDLE_LANES = 16


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where requests go and how; connections are shared by whoever has the same route."""

    base_url: str
    proxy_url: str | None = field(repr=False)
    ca_bundle: str | None


class _LaneAdapter(requests.adapters.HTTPAdapter):
    """Routes a session's one connection through its lane, with TLS verification always on."""

    def __init__(self, *, lane: "Lane", context: ssl.SSLContext) -> None:
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


class Lane:
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
        adapter = _LaneAdapter(lane=self, context=_tls_context(route.ca_bundle))
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


class LanePool:
    """The warm lanes of this process, by route. Safe for threads and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Endpoint, list[Lane]] = {}

    def take(self, *, route: Endpoint, user_agent: str) -> Lane:
        """A lane that answered within the last 10 seconds, else a new one."""
        stale: list[Lane] = []
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
        return found or Lane(route=route, user_agent=user_agent)

    def give_back(self, *, route: Endpoint, lane: Lane) -> None:
        """Keep a lane whose last answer was read to its end."""
        lane.rest()
        with self._lock:
            idle = self._idle.setdefault(route, [])
            idle.append(lane)
            surplus = idle.pop(0) if len(idle) > MAX_IDLE_LANES else None
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


POOL = LanePool()
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
