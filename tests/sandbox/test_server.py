"""The listeners keep connections alive, stop at once and stay on this machine."""

import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from sandbox import faults
from sandbox.entities import make_user
from sandbox.server import SandboxServer
from tests.sandbox.client import LIST, ask, send_delete, to_payments
from tests.support.sandbox import EU, US, key_headers, make_world


def test_each_site_has_a_port_of_its_own_on_the_loopback_address(sandbox: SandboxServer) -> None:
    addresses = [urlsplit(url) for url in sandbox.base_urls.values()]
    assert list(sandbox.base_urls) == [US, EU]
    assert {address.hostname for address in addresses} == {"127.0.0.1"}
    assert len({address.port for address in addresses}) == 2


def test_the_setting_for_the_product_names_every_site(sandbox: SandboxServer) -> None:
    urls = sandbox.base_urls
    assert sandbox.extra_sites_setting() == f"{US}={urls[US]},{EU}={urls[EU]}"


def test_a_given_port_is_used_and_a_taken_one_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            SandboxServer(make_world(), ports={US: port}).start()
    with SandboxServer(make_world(), ports={US: port}) as server:
        assert server.base_urls[US] == f"http://127.0.0.1:{port}"


def test_one_connection_serves_many_requests(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    address = urlsplit(sandbox.base_urls[US])
    client = HTTPConnection(address.hostname or "", address.port, timeout=5)
    with closing(client):
        client.connect()
        first_socket = client.sock
        for method, path in (("GET", LIST), ("DELETE", f"{LIST}/{connection_id}"), ("GET", LIST)):
            client.request(method, path, headers=key_headers(pair))
            answer = client.getresponse()
            assert (answer.status, answer.read()[-1:]) == (200, b"\n")
            assert client.sock is first_socket


def test_it_stops_at_once_though_clients_hang() -> None:
    before = set(threading.enumerate())
    with SandboxServer(make_world()) as server:
        pair, connection_id = to_payments(server)
        server.world.set_fault(fault=faults.SILENCE, times=1)
        server.world.set_fault(fault=faults.executed_late(seconds=60), times=1)
        with (
            send_delete(server, pair, connection_id) as one,
            send_delete(server, pair, connection_id) as two,
        ):
            world = server.world
            assert world.wait_until(lambda: world.deletes_received(connection_id) == 2)
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 1
            assert one.recv(1) == two.recv(1) == b""
    assert server.world.deletes_executed(connection_id) == 0
    assert set(threading.enumerate()) <= before


def test_it_can_be_stopped_twice_and_started_again() -> None:
    server = SandboxServer(make_world()).start()
    server.stop()
    server.stop()
    with server:
        pair, _ = to_payments(server)
        assert ask(server, "GET", LIST, pair=pair).status_code == 200


def test_idle_connections_can_be_closed_from_the_far_end(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    with send_delete(sandbox, pair, connection_id) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        sandbox.close_client_connections()
        assert client.recv(1) == b""


def test_many_threads_delete_a_connection_once(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    statuses: list[int] = []

    def delete() -> None:
        answer = ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=delete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [404] * 7
    assert sandbox.world.deletes_received(connection_id) == 8
    assert sandbox.world.deletes_executed(connection_id) == 1


def test_the_journal_keeps_header_names_and_no_key(sandbox: SandboxServer) -> None:
    pair, _ = to_payments(sandbox)
    ask(sandbox, "GET", f"{LIST}?limit=1", pair=pair)
    [received] = sandbox.world.requests()
    assert (received.method, received.path, received.query) == ("GET", LIST, "limit=1")
    assert (received.site, received.org) == (US, pair.org.id)
    assert "dd-application-key" in received.header_names
    assert pair.api_key not in repr(received)
    assert pair.application_key not in repr(pair)


def test_a_reset_goes_back_to_the_beginning(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    before = sandbox.world.connections()
    ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)
    sandbox.world.revoke(pair)
    sandbox.world.set_fault(method="GET", fault=faults.ANSWERS_500)
    sandbox.world.reset()
    assert sandbox.world.connections() == before
    assert sandbox.world.requests() == []
    assert ask(sandbox, "GET", LIST, pair=pair).status_code == 200


def test_a_connection_does_not_cross_sites() -> None:
    world = make_world()
    us, eu = world.add_org(name="Here", site=US), world.add_org(name="There", site=EU)
    with pytest.raises(ValueError, match="one site"):
        world.add_connection(source_org=us, sink_org=eu, created_by=make_user(name="Dana"))
