"""Responses and failures that don't prove whether a write worked."""

import socket
import threading

import pytest

from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from sandbox.certificates import Certificate
from tests.datadog.actions import WriteUnderTest
from tests.datadog.servers import (
    ScriptedServer,
    http_response,
    json_response,
    respond,
    respond_and_close,
    respond_and_drip,
    respond_and_reset,
    respond_and_wait,
)


def test_a_reset_before_reading_is_ambiguous(write: WriteUnderTest) -> None:
    def peek_and_reset(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(1, socket.MSG_PEEK)
        respond_and_reset()(connection, is_over)

    with ScriptedServer([], on_accept=peek_and_reset) as server:
        result = write.send(server.url)
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.CONNECTION_LOST)
    assert server.connections == 1


def test_a_reset_after_reading_is_ambiguous(write: WriteUnderTest) -> None:
    result = write.send_against(respond_and_reset())
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.CONNECTION_LOST)


def test_a_close_after_reading_is_ambiguous(write: WriteUnderTest) -> None:
    result = write.send_against(respond_and_close(b""))
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.CONNECTION_LOST)


def test_a_tls_connection_lost_after_the_handshake_is_ambiguous(
    write: WriteUnderTest,
    certificate: Certificate,
) -> None:
    with ScriptedServer([respond_and_reset()], tls=certificate.server) as server:
        result = write.send(server.url, ca_bundle=str(certificate.bundle))
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.CONNECTION_LOST)
    assert len(server.seen) == 1


def test_silence_is_ambiguous(write: WriteUnderTest) -> None:
    result = write.send_against(respond_and_wait(), deadline_seconds=0.3)
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.NO_ANSWER_IN_TIME)


def test_silence_over_tls_is_ambiguous(write: WriteUnderTest, certificate: Certificate) -> None:
    with ScriptedServer([respond_and_wait()], tls=certificate.server) as server:
        result = write.send(server.url, ca_bundle=str(certificate.bundle), deadline_seconds=0.4)
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.NO_ANSWER_IN_TIME)
    assert len(server.seen) == 1


@pytest.mark.parametrize("half", [b"HTTP/1.1 200", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r", b"HT"])
def test_half_a_status_line_is_ambiguous(write: WriteUnderTest, half: bytes) -> None:
    result = write.send_against(respond_and_close(half))
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.HALF_STATUS_LINE)
    assert result.http_status is None


def test_a_response_that_is_not_http_is_ambiguous(write: WriteUnderTest) -> None:
    result = write.send_against(respond_and_close(b"SSH-2.0-OpenSSH\r\n"))
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.NOT_HTTP)


def test_an_early_hint_is_no_response_and_does_not_affect_later_requests(
    write: WriteUnderTest,
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with ScriptedServer(
        [respond(early + http_response()), respond(json_response({}, status="500 X"))]
    ) as server:
        first = write.send(server.url)
        second = write.send(server.url)
    assert (first.verdict, first.http_status) == (AttemptResult.AMBIGUOUS, 103)
    assert (second.verdict, second.http_status) == (AttemptResult.AMBIGUOUS, 500)
    assert len(server.seen) == 2


def test_a_continue_before_the_response_is_skipped(write: WriteUnderTest) -> None:
    result = write.send_against(respond(b"HTTP/1.1 100 Continue\r\n\r\n" + http_response()))
    assert result.verdict is write.success


def test_dripped_headers_end_at_the_deadline_and_the_status_line_decides(
    write: WriteUnderTest,
) -> None:
    play = respond_and_drip(b"HTTP/1.1 200 OK\r\nX-Drip: ", drop=b"x")
    result = write.send_against(play, deadline_seconds=0.3)
    assert result.verdict is write.success
    assert not result.body_is_complete
    assert result.duration_ms < 10_000


def test_a_dripped_status_line_ends_at_the_deadline(write: WriteUnderTest) -> None:
    result = write.send_against(respond_and_drip(b"HTTP/1.1 200 ", drop=b"O"), deadline_seconds=0.3)
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.NO_ANSWER_IN_TIME)
    assert result.duration_ms < 10_000


def test_a_dripped_body_ends_at_the_deadline(write: WriteUnderTest) -> None:
    play = respond_and_drip(http_response(length=1_000_000), drop=b" ")
    result = write.send_against(play, deadline_seconds=0.3)
    assert result.verdict is write.success
    assert not result.body_is_complete
    assert result.body.startswith(b"{}\n")
    assert result.duration_ms < 10_000


def test_a_dripped_body_without_a_length_is_not_complete(write: WriteUnderTest) -> None:
    play = respond_and_drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", drop=b" ")
    result = write.send_against(play, deadline_seconds=0.3)
    assert result.verdict is write.success
    assert not result.body_is_complete
    assert result.duration_ms < 10_000
