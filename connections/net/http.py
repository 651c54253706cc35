"""Sends one HTTP request once and returns what is known. Never raises network errors.

A `Route` says through which proxy it leaves this machine, and which certificates it trusts.
"""

import contextlib
import hashlib
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from connections.core.causes import Cause
from connections.core.secret import Secret

# Functions import connections.net.connection only when they send, because requests would slow down
# the start of every command.
if TYPE_CHECKING:
    import requests

    from connections.net.connection import Exchange, Session

logger = logging.getLogger(__name__)

_READ_SIZE = 16_384
# The most requests that one action sends in parallel. Its pool keeps as many connections to a host.
PARALLEL_REQUESTS = 24
# A host name or an IPv4 address, with or without a dot before it; an IPv6 address; or every host.
_EXCEPTION = re.compile(
    r"\.?[\w-]+(\.[\w-]+)*\.?|\[?[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*]?|\*", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A proxy, the hosts that are not asked through it, and certificates. "" means none.

    `no_proxy` is comma-separated: a name covers its subdomains, and `*` every host. `ca_bundle`
    replaces the public certificates, and `extra_ca_file` adds to them. A proxy's URL can contain a
    password, so its repr is hidden.
    """

    proxy_url: str = field(default="", repr=False)
    no_proxy: str = ""
    ca_bundle: str = ""
    extra_ca_file: str = ""

    def proxy_for(self, url: str) -> str:
        """The proxy for this URL; "" for none."""
        parts = urlsplit(url)
        # Plain HTTP is only for this machine, and a proxy would see the keys in it.
        if parts.scheme != "https":
            return ""
        names = [name.strip(" .[]").lower() for name in self.no_proxy.split(",")]
        host = parts.hostname or ""
        is_excepted = any(
            name and (name in {"*", host} or host.endswith(f".{name}")) for name in names
        )
        return "" if is_excepted else self.proxy_url


# No proxy, and the public certificates.
DIRECT = Route()


def check_proxy_url(url: str) -> str:
    """The URL, or "" for none. Raises ValueError for any other, without repeating it."""
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("A proxy's address is http://host:port or https://host:port.")
    return url


def check_no_proxy(text: str) -> str:
    """The hosts, for Route. Raises ValueError for an entry that would except none."""
    for entry in filter(None, map(str.strip, text.split(","))):
        if not _EXCEPTION.fullmatch(entry):
            raise ValueError(f"{entry} is no host name or address. Write it without port or mask.")
    return text


@dataclass(frozen=True, kw_only=True)
class OutboundRequest:
    """A request to send. `keys` maps header names to keys, revealed only while it is sent.

    A body can contain the client secret of a sign-in, so its repr is hidden.
    """

    method: str
    url: str
    keys: Mapping[str, Secret]
    user_agent: str
    deadline_seconds: float
    connect_seconds: float
    max_body: int
    route: Route = DIRECT
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    # No byte is written later than this, in `boot_clock.seconds_since_boot`.
    send_by: float | None = None


@dataclass(frozen=True, kw_only=True)
class OutboundResponse:
    """What is known after a request.

    `status` is None if no complete status line was received. Then `cause` says why, and
    `has_request_left` whether the server might have received the request. With a status, `cause`
    says why the body is incomplete, or is None if it is complete. Header names are in lower case.
    """

    status: int | None
    has_request_left: bool
    cause: Cause | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_body_complete: bool = False
    duration_ms: int = 0

    @property
    def body_sha256(self) -> str:
        """The SHA-256 of `body` in hex; "" if it is empty."""
        return hashlib.sha256(self.body).hexdigest() if self.body else ""


@dataclass(kw_only=True)
class _Body:
    """A body while it is read. Keeps what was read if reading the rest fails."""

    content: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    cause: Cause | None = None


class _Pool:
    """The open connections of one action: one session per set of certificates. Safe for threads."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, str], Session] = {}

    def session(self, route: Route) -> "Session":
        """The session with the route's certificates. Raises OSError when they can't be read."""
        from connections.net.connection import Session

        files = (route.ca_bundle, route.extra_ca_file)
        if files not in self._sessions:
            self._sessions.setdefault(files, Session(ca_files=files, size=PARALLEL_REQUESTS))
        return self._sessions[files]

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


_pool: ContextVar[_Pool | None] = ContextVar("pool", default=None)


@contextlib.contextmanager
def pool() -> Iterator[_Pool]:
    """Keep connections open between the requests of one action.

    Inside another `pool()`, it shares that one's connections. A thread shares them if it runs in a
    copy of the context.
    """
    outer = _pool.get()
    if outer is not None:
        yield outer
        return
    own = _Pool()
    token = _pool.set(own)
    try:
        yield own
    finally:
        _pool.reset(token)
        own.close()


def send(*, request: OutboundRequest) -> OutboundResponse:
    """Send the request at most once, within its deadline. Never raises network errors."""
    from connections.net.connection import Exchange, current_exchange

    exchange = Exchange(
        deadline_seconds=request.deadline_seconds,
        connect_seconds=request.connect_seconds,
        send_by=request.send_by,
    )
    headers: dict[str, str] = {}
    body = _Body()
    proxy = request.route.proxy_for(request.url)
    with pool() as connections, contextlib.ExitStack() as cleanup:
        cleanup.callback(exchange.finish)
        try:
            exchange.start()
            current_exchange.set(exchange)
            session = _open_session(connections, request=request, exchange=exchange)
            response = session.request(
                request.method,
                request.url,
                headers={
                    "User-Agent": request.user_agent,
                    **request.headers,
                    # Not in a variable, because error pages show local variables.
                    **{name: key.reveal() for name, key in request.keys.items()},
                },
                data=request.body,
                proxies={"http": proxy, "https": proxy} if proxy else None,
                timeout=(exchange.remaining_connect_seconds, exchange.remaining_seconds),
                allow_redirects=False,
                stream=True,
            )
            # Closes the connection, unless the body was read to its end.
            cleanup.callback(response.close)
            headers.update((name.lower(), value) for name, value in response.headers.items())
            _read_body(response, body=body, limit=request.max_body)
        except Exception as error:  # noqa: BLE001 - keep what is known, whatever failed
            # Drops the error itself, because it refers to the request's headers. The exceptions of
            # requests are OSErrors.
            if not isinstance(error, OSError):
                logger.info("A request failed with %s.", type(error).__name__)
    body.is_complete = body.is_complete and not exchange.has_expired
    return _build_outbound_response(exchange=exchange, headers=headers, body=body)


def _open_session(
    connections: _Pool, *, request: OutboundRequest, exchange: "Exchange"
) -> "Session":
    try:
        return connections.session(request.route)
    except OSError:
        exchange.cause = Cause.CA_BUNDLE_UNREADABLE
        raise


def _build_outbound_response(
    *, exchange: "Exchange", headers: dict[str, str], body: _Body
) -> OutboundResponse:
    if exchange.status is None:
        cause: Cause | None = exchange.explain()
    elif body.is_complete:
        cause = None
    elif exchange.is_overdue:
        cause = Cause.NO_ANSWER_IN_TIME
    else:
        cause = body.cause or Cause.BODY_CUT
    return OutboundResponse(
        status=exchange.status,
        has_request_left=exchange.has_request_left,
        cause=cause,
        headers=headers,
        body=bytes(body.content),
        is_body_complete=body.is_complete,
        duration_ms=exchange.duration_ms,
    )


def _read_body(response: "requests.Response", *, body: _Body, limit: int) -> None:
    """Read and decompress up to `limit` bytes into `body`, which keeps them if reading fails."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"gzip", "x-gzip"}:
        _read_gzip(response, body=body, limit=limit)
    else:
        _read_plain(response, body=body, limit=limit)
        if encoding not in {"identity", ""}:
            body.is_complete, body.cause = False, Cause.BODY_UNDECODABLE


def _read_plain(response: "requests.Response", *, body: _Body, limit: int) -> None:
    while chunk := response.raw.read1(_READ_SIZE, decode_content=False):
        body.content += chunk[: limit - len(body.content)]
        if len(body.content) == limit:
            body.cause = Cause.BODY_TOO_LONG
            return
    body.is_complete = True


def _read_gzip(response: "requests.Response", *, body: _Body, limit: int) -> None:
    """Decompress with a limit on the output, so that a small response can't fill the memory."""
    decoder = zlib.decompressobj(wbits=31)
    while chunk := response.raw.read1(_READ_SIZE, decode_content=False):
        try:
            body.content += decoder.decompress(chunk, limit - len(body.content))
        except zlib.error:
            body.cause = Cause.BODY_UNDECODABLE
            return
        if len(body.content) == limit:
            body.cause = Cause.BODY_TOO_LONG
            return
        if decoder.unused_data:
            body.cause = Cause.BODY_UNDECODABLE
            return
    body.is_complete = decoder.eof
