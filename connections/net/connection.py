"""One TCP or TLS connection that reports how far its exchange has come."""

import http.client
import re
import socket
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection

from connections.net.exchange import (
    Exchange,
    Phase,
    cause_of_bad_status_line,
    cause_of_connect_failure,
)
from connections.net.resolver import Address, resolve

if TYPE_CHECKING:
    from connections.net.lanes import Lane

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

    def __init__(self, *args: Any, lane: "Lane", **kwargs: Any) -> None:
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
