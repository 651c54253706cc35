"""The sandbox without its sockets, where the client stands: for thousands of lives in seconds.

It answers from the same world, with the same faults, through the client's own reading of what
came; only what happens between two sockets is said instead of done. It passes the same contract
test as the client against the sandbox (tests/faults/model/test_contract.py).
"""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from connections.datadog.answers import Answer, read_answer, read_json, reported_errors
from connections.datadog.errors import Cause, DatadogError
from connections.datadog.listing import ListingReader
from connections.datadog.payloads import (
    Identity,
    Listing,
    canonical_connection_id,
    parse_identity,
)
from connections.datadog.transport import Reply
from sandbox import transmission
from sandbox.fault_rules import RequestFacts
from sandbox.faults import Fault, Wire
from sandbox.request_log import ReceivedRequest
from sandbox.responses import Answer as Sent
from sandbox.responses import Request, route_of
from sandbox.world import KeyPair, World

# No whole status line comes.
_UNANSWERED = {
    Wire.SILENCE: Cause.NO_ANSWER_IN_TIME,
    Wire.CLOSE: Cause.CONNECTION_LOST,
    Wire.RESET: Cause.CONNECTION_LOST,
    Wire.RESET_UNREAD: Cause.CONNECTION_LOST,
    Wire.HALF_STATUS_LINE: Cause.HALF_STATUS_LINE,
}
_ANSWERED = {Wire.ANSWER, Wire.CLOSE_AFTER}


class FakeDatadog:
    """Stands in for `DatadogClient`, with the keys of one org of a world.

    `is_closed`: nothing listens, so that no request leaves.
    """

    def __init__(self, world: World, *, pair: KeyPair, is_closed: bool = False) -> None:
        self.world = world
        self.pair = pair
        self.is_closed = is_closed

    def delete_org_connection(self, *, connection_id: str, deadline_seconds: float = 30) -> Answer:
        """As the client's; a deadline that has passed sends nothing."""
        if canonical_connection_id(connection_id) != connection_id:
            raise ValueError("The org connection id is not in its canonical, lower case form.")
        if deadline_seconds <= 0:
            return read_answer(_not_sent(Cause.CONNECT_TIMEOUT))
        return read_answer(self._ask("DELETE", f"/api/v2/org_connections/{connection_id}"))

    def list_org_connections(
        self, *, deadline_seconds: float = 10, page_size: int = 1000
    ) -> Listing:
        """As the client's."""
        reader = ListingReader()
        while (offset := reader.next_offset) is not None:
            path = f"/api/v2/org_connections?limit={page_size}&offset={offset}"
            reader.read(read_json(self._ask("GET", path)))
        return reader.result()

    def whoami(self, *, deadline_seconds: float = 10) -> Identity:
        """As the client's."""
        document = read_json(self._ask("GET", "/api/v2/current_user"))
        error = document if isinstance(document, DatadogError) else reported_errors(document)
        if error is not None:
            raise error
        return parse_identity(document)

    def _ask(self, method: str, path: str) -> Reply:
        if self.is_closed:
            return _not_sent(Cause.CONNECTION_REFUSED)
        request = self._request(method, path)
        route = route_of(method=method, path=request.path)
        facts = RequestFacts(
            operation=route.operation,
            site=request.site,
            org=self.pair.org.id,
            connection_id=route.connection_id,
        )
        fault = self.world.faults.take(facts=facts)
        number = self._receive(request, facts=facts, fault=fault)
        answer = transmission.proper_answer(request=request, world=self.world, fault=fault)
        if answer.effect:
            self.world.journal.mark_executed(number=number)
        if fault is not None:
            answer = transmission.shaped(answer=answer, fault=fault, request=request)
        return _reply(answer, way=fault.wire if fault else Wire.ANSWER)

    def _request(self, method: str, path: str) -> Request:
        target = urlsplit(path)
        return Request(
            method=method,
            path=target.path,
            query=dict(parse_qsl(target.query)),
            headers={
                "dd-api-key": self.pair.api_key,
                "dd-application-key": self.pair.application_key,
            },
            body=b"",
            site=self.pair.org.site.name,
        )

    def _receive(self, request: Request, *, facts: RequestFacts, fault: Fault | None) -> int:
        return self.world.journal.record(
            request=ReceivedRequest(
                method=request.method,
                path=request.path,
                query="",
                site=request.site,
                org=facts.org,
                connection_id=facts.connection_id,
                received_at=datetime.now(UTC),
                executed=False,
                fault=fault.name if fault else None,
                header_names=tuple(request.headers),
                user_agent="",
            )
        )


def _not_sent(cause: Cause) -> Reply:
    return Reply(status=None, has_request_left=False, cause=cause)


def _reply(answer: Sent, *, way: Wire) -> Reply:
    if way in _UNANSWERED:
        return Reply(status=None, has_request_left=True, cause=_UNANSWERED[way])
    headers = {name.lower(): value for name, value in answer.headers}
    headers["content-type"] = answer.content_type
    if way is Wire.CUT_BODY:
        return Reply(
            status=answer.status,
            has_request_left=True,
            cause=Cause.BODY_CUT,
            headers=headers,
            body=answer.body[: max(1, len(answer.body) // 2)],
        )
    if way not in _ANSWERED:
        raise NotImplementedError(f"The fake cannot answer by {way}.")
    return Reply(
        status=answer.status,
        has_request_left=True,
        cause=None,
        headers=headers,
        body=answer.body,
        is_body_complete=True,
    )
