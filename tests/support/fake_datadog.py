"""A fake of the Datadog client that calls the simulator without sockets, for thousands of cases.

It is the client; only its transport is replaced, by the simulator's world and faults.
`tests/faults/model/test_contract.py` compares it with the client.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from connections.core import datadog_keys
from connections.core.causes import Cause
from connections.core.secret import Secret
from connections.datadog.client import MAX_READ_BODY, DatadogClient
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


class FakeDatadog(DatadogClient):
    """A `DatadogClient` with one key pair of a world. `is_closed` means that nothing listens."""

    def __init__(self, world: World, *, pair: KeyPair, is_closed: bool = False) -> None:
        super().__init__(
            base_url="https://datadog.example",
            keys=datadog_keys.KeyPair(
                api_key=Secret(pair.api_key), application_key=Secret(pair.application_key)
            ),
        )
        self.world = world
        self.pair = pair
        self.is_closed = is_closed

    def _send(
        self,
        *,
        path: str,
        deadline_seconds: float,
        method: str = "GET",
        max_body: int = MAX_READ_BODY,
        keys: Mapping[str, Secret] | None = None,
        body: bytes | None = None,
        send_by: float | None = None,
    ) -> OutboundResponse:
        if deadline_seconds <= 0:
            return _not_sent(Cause.CONNECT_TIMEOUT)
        if self.is_closed:
            return _not_sent(Cause.CONNECTION_REFUSED)
        url = urlsplit(path)
        request = Request(
            method=method,
            path=url.path,
            query_string=url.query,
            headers={
                "dd-api-key": self.pair.api_key,
                "dd-application-key": self.pair.application_key,
            },
            body=body or b"",
            site=self.pair.org.site.name,
        )
        fault = take_fault(request=request, world=self.world)
        number = log_request(request=request, world=self.world, fault=fault)
        response = respond_with_fault(request=request, world=self.world, fault=fault, number=number)
        return _reply(response, transmission=fault.transmission if fault else Transmission.WHOLE)


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
