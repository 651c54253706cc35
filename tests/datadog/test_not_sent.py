"""Failures that prove that a write never left."""

import socket
import ssl
import threading

import pytest

from connections.core import boot_clock
from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from connections.net.http import pool
from sandbox.certificates import Certificate
from tests.datadog.actions import WriteUnderTest
from tests.datadog.servers import (
    Play,
    ScriptedServer,
    http_response,
    respond,
    respond_and_close,
    respond_and_drip,
    respond_and_reset,
)
from tests.support.processes import free_port


def test_a_closed_port_is_not_sent(write: WriteUnderTest):
    result = write.send(f"http://127.0.0.1:{free_port()}")
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CONNECTION_REFUSED)
    assert result.http_status is None


def test_a_name_that_does_not_resolve_is_not_sent(write: WriteUnderTest):
    result = write.send("https://no-such-site..example")
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.NAME_NOT_RESOLVED)


def test_a_full_backlog_causes_a_connect_timeout_and_is_not_sent(write: WriteUnderTest):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        # One connection fills the backlog of a server that never accepts.
        with socket.create_connection(address):
            result = write.send(f"http://127.0.0.1:{address[1]}", connect_seconds=2)
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CONNECT_TIMEOUT)


def test_an_untrusted_certificate_is_not_sent(write: WriteUnderTest, certificate: Certificate):
    with ScriptedServer([respond(http_response())], tls=certificate.server) as server:
        result = write.send(server.url)
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CERTIFICATE_REFUSED)
    assert server.seen == []


def test_a_certificate_for_another_name_is_not_sent(
    write: WriteUnderTest, certificate: Certificate
):
    with ScriptedServer([respond(http_response())], tls=certificate.server) as server:
        result = write.send(f"https://localhost:{server.port}", ca_bundle=str(certificate.bundle))
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CERTIFICATE_REFUSED)
    assert server.seen == []


def test_a_trusted_certificate_is_sent(write: WriteUnderTest, certificate: Certificate):
    with ScriptedServer([respond(http_response())], tls=certificate.server) as server:
        result = write.send(server.url, ca_bundle=str(certificate.bundle))
    assert result.verdict is write.success
    assert len(server.seen) == 1


def test_with_a_missing_ca_bundle_nothing_is_sent(write: WriteUnderTest):
    with ScriptedServer([respond(http_response())]) as server:
        result = write.send(server.url, ca_bundle="/nonexistent/bundle.pem")
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CA_BUNDLE_UNREADABLE)
    assert server.connections == 0


def reset_in_the_handshake(connection: socket.socket, is_over: threading.Event) -> None:
    # Only after the handshake began, because a reset might otherwise arrive while the client is
    # connecting.
    connection.recv(1)
    respond_and_reset()(connection, is_over)


@pytest.mark.parametrize(
    ("play", "cause"),
    [
        (reset_in_the_handshake, Cause.TLS_FAILED),
        (respond_and_close(b"HTTP/1.1 200 OK\r\n\r\n"), Cause.TLS_FAILED),
        (respond_and_drip(b"", drop=b""), Cause.CONNECT_TIMEOUT),
    ],
)
def test_a_failed_handshake_is_not_sent(
    write: WriteUnderTest, certificate: Certificate, play: Play, cause: Cause
):
    with ScriptedServer([], on_accept=play) as server:
        result = write.send(
            f"https://127.0.0.1:{server.port}",
            connect_seconds=2,
            ca_bundle=str(certificate.bundle),
        )
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, cause)


def test_the_total_deadline_also_ends_a_handshake(write: WriteUnderTest, certificate: Certificate):
    # A TLS record that claims 16 KiB and drips: no single read ever times out.
    drip = respond_and_drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", drop=b"\x00")
    with ScriptedServer([], on_accept=drip) as server:
        result = write.send(
            f"https://127.0.0.1:{server.port}",
            deadline_seconds=2,
            ca_bundle=str(certificate.bundle),
        )
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.CONNECT_TIMEOUT)
    assert result.duration_ms < 10_000


# The proxy.


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Authentication Required", "502 Bad"])
def test_a_proxy_that_refuses_the_tunnel_is_not_sent(write: WriteUnderTest, status: str):
    with ScriptedServer([respond_and_close(http_response(status, b"<html>"))]) as proxy:
        result = write.send("https://127.0.0.1:9", proxy_url=proxy.url)
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.PROXY_REFUSED)
    assert result.http_status is None
    (seen,) = proxy.seen
    assert seen.method == "CONNECT"
    assert "dd-api-key" not in seen.headers


def test_a_proxy_that_disconnects_is_not_sent(write: WriteUnderTest):
    with ScriptedServer([respond_and_close(b"HTTP/1.1 200")]) as proxy:
        result = write.send("https://127.0.0.1:9", proxy_url=proxy.url)
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.PROXY_REFUSED)


def test_a_proxy_that_is_down_is_not_sent(write: WriteUnderTest):
    result = write.send("https://127.0.0.1:9", proxy_url=f"http://127.0.0.1:{free_port()}")
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.PROXY_UNREACHABLE)


def test_the_tunnel_carries_the_request_to_the_site(
    write: WriteUnderTest, certificate: Certificate
):
    with ScriptedServer([respond(http_response())], tls=certificate.server) as server:

        def tunnel(connection: socket.socket, _: threading.Event) -> None:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", server.port)) as onward:
                forward(connection, onward)

        with ScriptedServer([tunnel]) as proxy:
            result = write.send(server.url, proxy_url=proxy.url, ca_bundle=str(certificate.bundle))
    assert result.verdict is write.success
    assert len(server.seen) == 1
    assert [request.method for request in proxy.seen] == ["CONNECT"]


# The time from the claim to the first byte.


def test_after_its_time_a_write_is_not_sent(write: WriteUnderTest, monkeypatch: pytest.MonkeyPatch):
    times = iter([10.0, 10.1])
    monkeypatch.setattr(boot_clock, "seconds_since_boot", lambda: next(times))
    with ScriptedServer([respond(http_response())]) as server, pool():
        in_time = write.send(server.url, write_by=10.0)
        too_late = write.send(server.url, write_by=10.0)
    assert (in_time.verdict, len(server.seen)) == (write.success, 1)
    assert (too_late.verdict, too_late.cause) == (
        AttemptResult.NOT_SENT,
        Cause.FIRST_BYTE_TOO_LATE,
    )


@pytest.mark.parametrize("is_proxied", [False, True])
def test_the_time_that_a_handshake_or_a_proxy_takes_counts(
    write: WriteUnderTest,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    is_proxied: bool,
):
    times = [0.0]
    monkeypatch.setattr(boot_clock, "seconds_since_boot", lambda: times[-1])

    def connect(connection: socket.socket, _: threading.Event) -> None:
        times.append(10.1)
        if is_proxied:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with certificate.server.wrap_socket(connection, server_side=True) as encrypted:
            received.append(encrypted.recv(1))

    received: list[bytes] = []
    plays: list[Play] = [connect] if is_proxied else []
    with ScriptedServer(plays, on_accept=None if is_proxied else connect) as server:
        address = f"127.0.0.1:{server.port}"
        result = write.send(
            f"https://{address}",
            proxy_url=f"http://{address}" if is_proxied else "",
            ca_bundle=str(certificate.bundle),
            write_by=10.0,
        )
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.FIRST_BYTE_TOO_LATE)
    assert b"".join(received) == b""


def forward(one: socket.socket, other: socket.socket) -> None:
    """Forward bytes both ways until one side disconnects."""
    back = threading.Thread(target=copy_bytes, args=(other, one), daemon=True)
    back.start()
    copy_bytes(one, other)
    back.join(timeout=5)


def copy_bytes(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65_536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client disconnected, so the tunnel is closed.
        return


def test_tls_is_at_least_1_2(write: WriteUnderTest, certificate: Certificate):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(certificate.bundle, certificate.bundle.with_name("key.pem"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with ScriptedServer([respond(http_response())], tls=old) as server:
        result = write.send(server.url, ca_bundle=str(certificate.bundle))
    assert (result.verdict, result.cause) == (AttemptResult.NOT_SENT, Cause.TLS_FAILED)
