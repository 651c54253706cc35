"""A fake of the Datadog client that calls the simulator without sockets, for thousands of cases.

It uses the same world, the same faults and the client's own parsing; only the transport is replaced
by its results. `tests/faults/model/test_contract.py` compares it with the client.
"""

from urllib.parse import urlsplit

from connections.core.causes import Cause
from connections.datadog.client import ListingReader
from connections.datadog.payloads import (
    ConnectionList,
    KeyOwner,
    canonical_connection_id,
    parse_identity,
)
from connections.datadog.responses import (
    DatadogError,
    RateLimit,
    WriteResponse,
    read_json,
    read_write_response,
    reported_errors,
)
from connections.net.http import OutboundResponse
from sandbox.entities import KeyPair
from sandbox.faults import Transmission
from sandbox.faulty_responses import log_request, respond_with_fault, take_fault
from sandbox.responses import Request, Response
from sandbox.world import World

# No complete status line arrives.
_WITHOUT_STATUS = {
    Transmission.NOTHING: Cause.NO_ANSWER_IN_TIME,
    Transmission.CLOSE: Cause.CONNECTION_LOST,
    Transmission.RESET: Cause.CONNECTION_LOST,
    Transmission.RESET_UNREAD: Cause.CONNECTION_LOST,
    Transmission.HALF_STATUS_LINE: Cause.HALF_STATUS_LINE,
}
_COMPLETE = {Transmission.WHOLE, Transmission.CLOSE_AFTER_RESPONSE}


class FakeDatadog:
    """Replaces `DatadogClient` in tests, with one key pair of a world.

    `is_closed` means that nothing listens, so no request is sent.
    """

    def __init__(self, world: World, *, pair: KeyPair, is_closed: bool = False) -> None:
        self.world = world
        self.pair = pair
        self.is_closed = is_closed
        self.rate_limits: tuple[RateLimit, ...] = ()

    def delete_org_connection(
        self, *, connection_id: str, deadline_seconds: float = 30
    ) -> WriteResponse:
        """Like the client's method. Sends nothing if the deadline has passed."""
        if canonical_connection_id(connection_id) != connection_id:
            raise ValueError("The connection ID is not in its canonical, lowercase form.")
        if deadline_seconds <= 0:
            return read_write_response(_not_sent(Cause.CONNECT_TIMEOUT))
        return read_write_response(self._send("DELETE", f"/api/v2/org_connections/{connection_id}"))

    def list_org_connections(
        self, *, deadline_seconds: float = 10, page_size: int = 1000
    ) -> ConnectionList:
        """As the client's."""
        reader = ListingReader()
        while (offset := reader.next_offset) is not None:
            path = f"/api/v2/org_connections?limit={page_size}&offset={offset}"
            reader.read(read_json(self._send("GET", path)))
        return reader.result()

    def whoami(self, *, deadline_seconds: float = 10) -> KeyOwner:
        """As the client's."""
        document = read_json(self._send("GET", "/api/v2/current_user"))
        error = document if isinstance(document, DatadogError) else reported_errors(document)
        if error is not None:
            raise error
        identity = parse_identity(document)
        if identity is None:
            raise DatadogError(cause=Cause.WRONG_TYPE, http_status=200)
        return identity

    def _send(self, method: str, path: str) -> OutboundResponse:
        if self.is_closed:
            return _not_sent(Cause.CONNECTION_REFUSED)
        request = self._request(method, path)
        fault = take_fault(request=request, world=self.world)
        number = log_request(request=request, world=self.world, fault=fault)
        response = respond_with_fault(request=request, world=self.world, fault=fault, number=number)
        return _reply(response, transmission=fault.transmission if fault else Transmission.WHOLE)

    def _request(self, method: str, path: str) -> Request:
        url = urlsplit(path)
        return Request(
            method=method,
            path=url.path,
            query_string=url.query,
            headers={
                "dd-api-key": self.pair.api_key,
                "dd-application-key": self.pair.application_key,
            },
            body=b"",
            site=self.pair.org.site.name,
        )


def _not_sent(cause: Cause) -> OutboundResponse:
    return OutboundResponse(status=None, has_request_left=False, cause=cause)


def _reply(response: Response, *, transmission: Transmission) -> OutboundResponse:
    if transmission in _WITHOUT_STATUS:
        return OutboundResponse(
            status=None, has_request_left=True, cause=_WITHOUT_STATUS[transmission]
        )
    headers = {name.lower(): value for name, value in response.headers}
    headers["content-type"] = response.content_type
    if transmission is Transmission.TRUNCATED_BODY:
        return OutboundResponse(
            status=response.status,
            has_request_left=True,
            cause=Cause.BODY_CUT,
            headers=headers,
            body=response.body[: max(1, len(response.body) // 2)],
        )
    if transmission not in _COMPLETE:
        raise NotImplementedError(f"The fake can't simulate {transmission}.")
    return OutboundResponse(
        status=response.status,
        has_request_left=True,
        cause=None,
        headers=headers,
        body=response.body,
        is_body_complete=True,
    )
