"""Responses and failures that don't prove whether a write worked."""

import socket
import threading

import pytest

from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from sandbox.certificates import Certificate
from tests.datadog.actions import WriteUnderTest
from tests.datadog.servers import (
    Play,
    ScriptedServer,
    http_response,
    json_response,
    read_head,
    respond,
    respond_and_close,
    respond_and_drip,
    respond_and_reset,
    respond_and_wait,
)


def peek_and_reset(connection: socket.socket, is_over: threading.Event) -> None:
    connection.recv(1, socket.MSG_PEEK)
    respond_and_reset()(connection, is_over)


def read_head_and_reset(connection: socket.socket, is_over: threading.Event) -> None:
    read_head(connection)
    respond_and_reset()(connection, is_over)


@pytest.mark.parametrize("play", [peek_and_reset, read_head_and_reset])
def test_a_reset_before_the_whole_request_is_read_is_ambiguous(write: WriteUnderTest, play: Play):
    with ScriptedServer([], on_accept=play) as server:
        result = write.send(server.url)
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.CONNECTION_LOST)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("play", "cause", "is_tls"),
    [
        (respond_and_reset(), Cause.CONNECTION_LOST, False),
        (respond_and_reset(), Cause.CONNECTION_LOST, True),
        (respond_and_close(b""), Cause.CONNECTION_LOST, False),
        (respond_and_close(b"HTTP/1.1 200"), Cause.HALF_STATUS_LINE, False),
        (respond_and_close(b"HTTP/1.1 20"), Cause.HALF_STATUS_LINE, False),
        (respond_and_close(b"HTTP/1.1 200 OK\r"), Cause.HALF_STATUS_LINE, False),
        (respond_and_close(b"HT"), Cause.HALF_STATUS_LINE, False),
        (respond_and_close(b"SSH-2.0-OpenSSH\r\n"), Cause.NOT_HTTP, False),
        (respond_and_wait(), Cause.NO_ANSWER_IN_TIME, False),
        (respond_and_wait(), Cause.NO_ANSWER_IN_TIME, True),
        (respond_and_drip(b"HTTP/1.1 200 ", drop=b"O"), Cause.NO_ANSWER_IN_TIME, False),
    ],
)
def test_a_lost_response_is_ambiguous(
    write: WriteUnderTest, certificate: Certificate, play: Play, cause: Cause, *, is_tls: bool
):
    with ScriptedServer([play], tls=certificate.server if is_tls else None) as server:
        result = write.send(
            server.url,
            ca_bundle=str(certificate.bundle),
            deadline_seconds=2 if cause is Cause.NO_ANSWER_IN_TIME else 5,
        )
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, cause)
    assert result.http_status is None
    assert result.duration_ms < 10_000
    assert [request.method for request in server.seen] == [write.method]


def test_an_early_hint_is_no_response_and_does_not_affect_later_requests(write: WriteUnderTest):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with ScriptedServer(
        [respond(early + http_response()), respond(json_response({}, status="500 X"))]
    ) as server:
        first = write.send(server.url)
        second = write.send(server.url)
    assert (first.verdict, first.http_status) == (AttemptResult.AMBIGUOUS, 103)
    assert (second.verdict, second.http_status) == (AttemptResult.AMBIGUOUS, 500)
    assert len(server.seen) == 2


def test_a_continue_before_the_response_is_skipped(write: WriteUnderTest):
    result = write.send_against(respond(b"HTTP/1.1 100 Continue\r\n\r\n" + http_response()))
    assert result.verdict is write.success
