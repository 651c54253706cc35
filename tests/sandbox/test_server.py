"""The server keeps connections open, stops at once and listens on this machine only."""

import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from sandbox import faults
from sandbox.certificates import make_certificate
from sandbox.server import SandboxServer
from tests.sandbox.client import LIST, payments_connection, send, send_delete
from tests.support.processes import PATIENCE
from tests.support.sandbox import US, key_headers, make_world


def test_a_fixed_port_is_used_or_reported_as_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            SandboxServer(make_world(), ports={US: port}).start()
    with SandboxServer(make_world(), ports={US: port}) as server:
        assert server.base_urls[US] == f"http://127.0.0.1:{port}"


def test_with_a_certificate_it_serves_https_alone(tmp_path: Path):
    certificate = make_certificate(tmp_path)
    with SandboxServer(make_world(), tls=certificate.server) as server:
        url = f"{server.base_urls[US]}{LIST}"
        response = requests.get(url, verify=str(certificate.bundle), timeout=PATIENCE)
        assert (urlsplit(url).scheme, response.status_code) == ("https", 401)
        with pytest.raises(requests.ConnectionError):
            requests.get(url.replace("https", "http"), timeout=PATIENCE)


def test_one_connection_serves_many_requests(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    address = urlsplit(sandbox.base_urls[US])
    client = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    with closing(client):
        client.connect()
        first_socket = client.sock
        for method, path in (("GET", LIST), ("DELETE", f"{LIST}/{connection_id}"), ("GET", LIST)):
            client.request(method, path, headers=key_headers(pair))
            response = client.getresponse()
            assert (response.status, response.read()[-1:]) == (200, b"\n")
            assert client.sock is first_socket


def test_it_stops_at_once_while_clients_wait():
    before = set(threading.enumerate())
    with SandboxServer(make_world()) as server:
        pair, connection_id = payments_connection(server)
        server.world.set_fault(fault=faults.NO_RESPONSE, times=1)
        server.world.set_fault(fault=faults.executes_late(seconds=60), times=1)
        with (
            send_delete(server, pair, connection_id) as one,
            send_delete(server, pair, connection_id) as two,
        ):
            world = server.world
            assert world.wait_until(lambda: world.deletes_received(connection_id) == 2)
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < 30  # half of the late response's time
            assert one.recv(1) == two.recv(1) == b""
    assert server.world.deletes_executed(connection_id) == 0
    assert set(threading.enumerate()) <= before


def test_the_server_can_close_idle_connections(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    with send_delete(sandbox, pair, connection_id) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        sandbox.close_client_connections()
        assert client.recv(1) == b""


def test_concurrent_deletes_delete_a_connection_once(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    statuses: list[int] = []

    def delete() -> None:
        response = send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
        statuses.append(response.status_code)

    threads = [threading.Thread(target=delete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [404] * 7
    assert sandbox.world.deletes_received(connection_id) == 8
    assert sandbox.world.deletes_executed(connection_id) == 1


def test_the_request_log_has_header_names_but_no_keys(sandbox: SandboxServer):
    pair, _ = payments_connection(sandbox)
    send(sandbox, "GET", f"{LIST}?limit=1", pair=pair)
    [received] = sandbox.world.requests()
    assert (received.method, received.path, received.query) == ("GET", LIST, "limit=1")
    assert (received.site, received.org) == (US, pair.org.id)
    assert "dd-application-key" in received.header_names
    assert pair.api_key not in repr(received)
    assert pair.application_key not in repr(pair)


def test_reset_restores_the_initial_state(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    before = sandbox.world.connections()
    send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    sandbox.world.revoke(pair)
    sandbox.world.set_fault(method="GET", fault=faults.RETURNS_500)
    sandbox.world.reset()
    assert sandbox.world.connections() == before
    assert sandbox.world.requests() == []
    assert send(sandbox, "GET", LIST, pair=pair).status_code == 200
