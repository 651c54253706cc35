"""A request leaves nothing behind that affects the next one on the same connection."""

import socket
import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import pytest

from connections.core.causes import Cause
from connections.core.datadog_keys import AccessToken, KeyPair
from connections.core.secret import Secret
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult
from connections.net import http
from connections.net.http import Route
from sandbox.certificates import Certificate
from tests.datadog.actions import WriteUnderTest
from tests.datadog.servers import (
    API_KEY,
    APPLICATION_KEY,
    CONNECTION_ID,
    ScriptedServer,
    http_response,
    key_pair,
    respond,
    respond_and_close,
    respond_and_wait,
)


def make_client(server: ScriptedServer, *, ca_bundle: str = "") -> DatadogClient:
    return DatadogClient(base_url=server.url, route=Route(ca_bundle=ca_bundle), keys=key_pair())


@pytest.fixture
def one_action() -> Iterator[None]:
    """All requests of the test share their connections."""
    with http.pool():
        yield


pytestmark = pytest.mark.usefixtures("one_action")


def test_a_warm_connection_is_reused_by_another_client(certificate: Certificate):
    with ScriptedServer([respond(http_response())], tls=certificate.server) as server:
        for _ in range(3):
            client = make_client(server, ca_bundle=str(certificate.bundle))
            client.delete_org_connection(connection_id=CONNECTION_ID)
    assert [request.connection_number for request in server.seen] == [1, 1, 1]


def test_a_connection_known_to_be_closed_is_replaced_before_anything_is_sent():
    closed = threading.Event()

    def close(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(http_response())
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        closed.set()

    with ScriptedServer([close, respond(http_response())]) as server:
        client = make_client(server)
        client.delete_org_connection(connection_id=CONNECTION_ID)
        assert closed.wait(5)
        result = client.delete_org_connection(connection_id=CONNECTION_ID)
    assert result.verdict is AttemptResult.DELETED
    assert [request.connection_number for request in server.seen] == [1, 2]


def test_a_warm_connection_closed_during_the_request_is_ambiguous_and_not_retried(
    write: WriteUnderTest,
):
    with ScriptedServer(
        [respond(http_response()), respond_and_close(b""), respond(http_response())]
    ) as server:
        client = make_client(server)
        write.call(client, 5)
        result = write.call(client, 5)
    assert (result.verdict, result.cause) == (AttemptResult.AMBIGUOUS, Cause.CONNECTION_LOST)
    assert [request.connection_number for request in server.seen] == [1, 1]


def test_an_unsolicited_response_is_not_taken_for_the_next_one():
    sent = threading.Event()

    def twice(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(http_response("403 Forbidden"))
        connection.sendall(http_response())
        sent.set()

    with ScriptedServer([twice, respond(http_response("500 X"))]) as server:
        client = make_client(server)
        client.delete_org_connection(connection_id=CONNECTION_ID)
        assert sent.wait(5)
        result = client.delete_org_connection(connection_id=CONNECTION_ID)
    assert (result.verdict, result.http_status) == (AttemptResult.AMBIGUOUS, 500)


def test_a_second_response_in_the_same_tls_record_is_not_taken_for_the_next_one(
    certificate: Certificate,
):
    # The reader takes 8 KiB of the record; the second response waits decrypted after them.
    first = http_response("403 Forbidden")
    record = first.ljust(8_192, b"x") + http_response()
    with ScriptedServer(
        [respond(record), respond(http_response("500 X"))], tls=certificate.server
    ) as server:
        client = make_client(server, ca_bundle=str(certificate.bundle))
        client.delete_org_connection(connection_id=CONNECTION_ID)
        result = client.delete_org_connection(connection_id=CONNECTION_ID)
    assert (result.verdict, result.http_status) == (AttemptResult.AMBIGUOUS, 500)
    assert [request.connection_number for request in server.seen] == [1, 2]


def test_the_deadline_of_one_request_does_not_affect_the_next():
    with ScriptedServer(
        [respond(http_response()), respond_and_wait(http_response(length=9))]
    ) as server:
        client = make_client(server)
        client.delete_org_connection(connection_id=CONNECTION_ID, deadline_seconds=2)
        result = client.delete_org_connection(connection_id=CONNECTION_ID, deadline_seconds=4)
    # Its body takes as long as its own deadline allows.
    assert result.verdict is AttemptResult.DELETED
    assert result.duration_ms >= 3_900
    assert [request.connection_number for request in server.seen] == [1, 1]


def test_a_cookie_is_never_sent_back(write: WriteUnderTest):
    headers = {"Set-Cookie": "session=of-org-a; Path=/"}
    with ScriptedServer([respond(http_response(headers=headers))]) as server:
        client = make_client(server)
        write.call(client, 5)
        write.call(client, 5)
    assert ["cookie" in request.headers for request in server.seen] == [False, False]


def test_each_request_carries_its_own_keys():
    with ScriptedServer([respond(http_response())]) as server:
        make_client(server).delete_org_connection(connection_id=CONNECTION_ID)
        other = DatadogClient(
            base_url=server.url,
            keys=KeyPair(api_key=Secret("other"), application_key=Secret("pair")),
        )
        other.delete_org_connection(connection_id=CONNECTION_ID)
        token = AccessToken(access_token=Secret("ddsat_x"))
        third = DatadogClient(base_url=server.url, keys=token)
        third.delete_org_connection(connection_id=CONNECTION_ID)
    names = ("dd-api-key", "dd-application-key", "authorization")
    assert [[request.headers.get(name) for name in names] for request in server.seen] == [
        [API_KEY, APPLICATION_KEY, None],
        ["other", "pair", None],
        [None, None, "Bearer ddsat_x"],
    ]
    assert [request.connection_number for request in server.seen] == [1, 1, 1]


def test_threads_do_not_mix_up_their_responses():
    def echo(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(http_response(body=server.seen[-1].connection_number.to_bytes(4)))

    found: list[AttemptResult] = []

    def work() -> None:
        client = make_client(server)
        for _ in range(10):
            found.append(client.delete_org_connection(connection_id=CONNECTION_ID).verdict)

    with ScriptedServer([echo]) as server:
        threads = [threading.Thread(target=copy_context().run, args=[work]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert found == [AttemptResult.DELETED] * 80
    assert len(server.seen) == 80
    assert server.connections <= 8


def test_the_environment_changes_nothing(
    write: WriteUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Certificate
):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password something\n")
    (tmp_path / ".netrc").chmod(0o600)
    key_log = tmp_path / "keys.log"
    with (
        ScriptedServer([respond(http_response())], tls=certificate.server) as server,
        ScriptedServer([respond_and_close(http_response("403 Forbidden"))]) as proxy,
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
        client = make_client(server, ca_bundle=str(certificate.bundle))
        result = write.call(client, 5)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(certificate.bundle))
        untrusting = write.call(make_client(server), 5)
    assert result.verdict is write.success
    assert untrusting.cause is Cause.CERTIFICATE_REFUSED
    assert proxy.connections == 0
    assert "authorization" not in server.seen[0].headers
    assert not key_log.exists()
