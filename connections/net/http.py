"""Send one request once, and say what is known of it. Nothing here raises for the network."""

import hashlib
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import requests

from connections.core.causes import Cause
from connections.core.secret import Secret
from connections.net.connection import POOL, Endpoint, Exchange, PooledConnection

logger = logging.getLogger(__name__)

_READ_SIZE = 16_384


@dataclass(frozen=True, kw_only=True)
class OutboundRequest:
    """A request to send. `keys` maps header names to keys, revealed only while it leaves.

    `headers` and `body` are what a webhook or a sign-in has beside; a request to Datadog has
    neither. A body may hold the client secret of a sign-in, so it is never shown.
    """

    method: str
    url: str
    keys: Mapping[str, Secret]
    user_agent: str
    deadline_seconds: float
    connect_seconds: float
    max_body: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class OutboundResponse:
    """What is known afterwards.

    `status` is None when no whole status line came; `cause` then says why, and
    `has_request_left` whether the far end may have seen the request. With a status, `cause`
    says why the body is not complete, if it is not. Header names are lower case.
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
        """The SHA-256 of the kept bytes in hex; "" when there are none."""
        return hashlib.sha256(self.body).hexdigest() if self.body else ""


@dataclass(kw_only=True)
class _Body:
    """A body while it arrives: what was read stays readable when the rest never comes."""

    content: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    cause: Cause | None = None


def send(*, route: Endpoint, call: OutboundRequest) -> OutboundResponse:
    """Send the request at most once, within its deadline. Never raises for network trouble."""
    exchange = Exchange(
        deadline_seconds=call.deadline_seconds, connect_seconds=call.connect_seconds
    )
    headers: dict[str, str] = {}
    body = _Body()
    lane = None
    try:
        exchange.start()
        lane = POOL.take(route=route, user_agent=call.user_agent)
        lane.begin(exchange)
        response = _request(lane=lane, call=call)
        headers.update((name.lower(), value) for name, value in response.headers.items())
        _read_body(response, body=body, limit=call.max_body)
    except Exception as error:  # noqa: BLE001 - what was learned must be kept, whatever failed
        _note_failure(error, exchange=exchange, lane=lane)
    exchange.finish()
    body.is_complete = body.is_complete and not exchange.has_expired
    _release(lane, route=route, is_reusable=body.is_complete and (exchange.status or 0) >= 200)
    return _build_reply(exchange=exchange, headers=headers, body=body)


def _request(*, lane: PooledConnection, call: OutboundRequest) -> requests.Response:
    lane.response = lane.session.request(
        call.method,
        call.url,
        headers={**call.headers, **{name: key.reveal() for name, key in call.keys.items()}},
        data=call.body,
        timeout=(
            lane.exchange.remaining_connect_seconds,
            lane.exchange.remaining_seconds,
        ),
        allow_redirects=False,
        stream=True,
    )
    return lane.response


def _note_failure(error: Exception, *, exchange: Exchange, lane: PooledConnection | None) -> None:
    """Keep why it failed. The error itself is dropped: it leads to the request's headers."""
    if exchange.cause is None and lane is None and isinstance(error, OSError):
        exchange.cause = Cause.CA_BUNDLE_UNREADABLE
    if not isinstance(error, OSError | requests.RequestException):
        logger.info("A request failed with %s.", type(error).__name__)


def _release(lane: PooledConnection | None, *, route: Endpoint, is_reusable: bool) -> None:
    if lane is None:
        return
    if is_reusable and not lane.has_leftovers:
        POOL.give_back(route=route, lane=lane)
    else:
        lane.close()


def _build_reply(*, exchange: Exchange, headers: dict[str, str], body: _Body) -> OutboundResponse:
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


def _read_body(response: requests.Response, *, body: _Body, limit: int) -> None:
    """Read and decompress at most `limit` bytes; what came stays in `body` if the rest fails."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"gzip", "x-gzip"}:
        _read_gzip(response, body=body, limit=limit)
    else:
        _read_plain(response, body=body, limit=limit)
        if encoding not in {"identity", ""}:
            body.is_complete, body.cause = False, Cause.BODY_UNDECODABLE


def _read_plain(response: requests.Response, *, body: _Body, limit: int) -> None:
    while chunk := response.raw.read1(_READ_SIZE, decode_content=False):
        body.content += chunk[: limit - len(body.content)]
        if len(body.content) == limit:
            body.cause = Cause.BODY_TOO_LONG
            return
    body.is_complete = True


def _read_gzip(response: requests.Response, *, body: _Body, limit: int) -> None:
    """Decompress with a bound on the output, so that a small answer cannot fill the memory."""
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
