"""Each fault has the response and the effect that it defines."""

import gzip
import io
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
import requests

from sandbox import faults
from sandbox.faults import FAULTS, Fault, First, Transmission
from sandbox.server import SandboxServer
from tests.sandbox.client import (
    LIST,
    make_write,
    payments_connection,
    read_delete_response,
    send,
    send_delete,
    send_write,
)
from tests.sandbox.test_openapi import check_response

FAST_FAULTS = [
    replace(fault, late=min(fault.late, 0.05), delay=min(fault.delay, 0.05), interval=0.0001)
    for fault in FAULTS.values()
    if fault.first is First.NOTHING
]
WITH_STATUS = [
    fault
    for fault in FAST_FAULTS
    if fault.status is not None and fault.transmission is Transmission.WHOLE
]


def response_with_fault(sandbox: SandboxServer, fault: Fault) -> requests.Response:
    pair, connection_id = payments_connection(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    return send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)


def bytes_with_fault(sandbox: SandboxServer, fault: Fault) -> bytes:
    pair, connection_id = payments_connection(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    return read_delete_response(sandbox, pair, connection_id)


@pytest.mark.sweep(every=8)
@pytest.mark.parametrize("fault", FAST_FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("method", ["DELETE", "POST", "PATCH"])
def test_a_request_is_executed_only_if_its_fault_says_so(
    sandbox: SandboxServer, method: str, fault: Fault
):
    request = make_write(sandbox, method)
    world = sandbox.world
    before = world.connections()
    world.set_fault(method=method, fault=fault)
    with send_write(sandbox, request) as client:
        assert world.wait_until(lambda: bool(world.requests()))
        if fault.executes:
            assert world.wait_until(lambda: world.requests()[0].executed)
        else:
            with suppress(OSError):  # reset before the client could close
                client.shutdown(socket.SHUT_WR)
                client.recv(65536)
    assert (world.connections() != before) is fault.executes
    [received] = world.requests()
    assert (received.executed, received.fault) == (fault.executes, fault.name)


@pytest.mark.parametrize(
    ("method", "fault", "status", "types", "types_if_lost"),
    [
        ("POST", faults.ANOTHER_CREATES_FIRST, 409, ["logs"], ["logs"]),
        ("PATCH", faults.ANOTHER_CHANGES_FIRST, 200, ["audit"], ["metrics"]),
        ("PATCH", faults.ANOTHER_DELETES_FIRST, 404, None, None),
        ("DELETE", faults.ANOTHER_CHANGES_FIRST, 200, None, ["metrics"]),
        ("DELETE", faults.ANOTHER_DELETES_FIRST, 404, None, None),
    ],
)
@pytest.mark.parametrize("is_lost", [False, True])
def test_somebody_else_can_act_just_before_a_request(
    sandbox: SandboxServer,
    method: str,
    fault: Fault,
    status: int,
    types: list[str] | None,
    types_if_lost: list[str] | None,
    *,
    is_lost: bool,
):
    request = make_write(sandbox, method)
    if is_lost:
        fault, status, types = replace(fault, executes=False, status=500), 500, types_if_lost
    sandbox.world.set_fault(method=method, fault=fault)
    response = send(sandbox, method, request.path, pair=request.pair, body=request.body)
    assert response.status_code == status
    assert sandbox.world.requests()[0].executed is (status == 200)
    sink = "Analytics" if method == "POST" else "Group SOC"
    listed = send(sandbox, "GET", LIST, pair=request.pair).json()["data"]
    found = [
        one["attributes"]["connection_types"]
        for one in listed
        if one["relationships"]["source_org"]["data"]["id"] == request.pair.org.id
        and one["relationships"]["sink_org"]["data"]["name"] == sink
    ]
    assert found == ([types] if types else [])


@pytest.mark.parametrize("fault", WITH_STATUS, ids=lambda fault: fault.name)
def test_a_fault_with_a_status_returns_it_and_its_content_type(
    sandbox: SandboxServer, fault: Fault
):
    response = response_with_fault(sandbox, fault)
    assert response.status_code == fault.status
    assert response.headers["Content-Type"] == fault.content_type
    if fault.errors:
        assert list(response.json()) == ["errors"]
        check_response(response)


@pytest.mark.parametrize(
    ("name", "reset"),
    [
        ("returns_429", "7"),
        ("returns_429_doubled", "7, 7"),
        ("returns_429_without_reset", None),
        ("returns_429_hostile", "99999999999999999999; rm"),
    ],
)
def test_a_429_has_the_given_reset_header(sandbox: SandboxServer, name: str, reset: str | None):
    response = response_with_fault(sandbox, FAULTS[name])
    assert response.headers.get("X-RateLimit-Reset") == reset
    assert response.headers["X-RateLimit-Remaining"] == "0"


@pytest.mark.parametrize(
    "fault",
    [faults.RESET_BEFORE_READING, faults.RESET_AFTER_READING, faults.EXECUTES_THEN_RESET],
    ids=lambda fault: fault.name,
)
def test_a_reset_fault_is_a_tcp_reset(sandbox: SandboxServer, fault: Fault):
    with pytest.raises(ConnectionResetError):
        bytes_with_fault(sandbox, fault)


@pytest.mark.parametrize(
    ("fault", "received"),
    [
        (faults.CLOSE_AFTER_READING, rb""),
        (faults.EXECUTES_THEN_CLOSE, rb""),
        (faults.HALF_STATUS_LINE, rb"HTTP/1\.1 2"),
        (faults.TRUNCATED_HEADERS, rb"HTTP/1\.1 200 OK\r\n(?!.*\r\n\r\n).*"),
        (faults.TRUNCATED_BODY, rb"HTTP/1\.1 200 OK\r\n.*Content-Length: 515\r\n.*\r\n\r\n\{"),
        (faults.CLOSES_AFTER_RESPONSE, rb"(?!.*Connection: close).*\r\n\r\n\{\}\n"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_fault_sends_exactly_these_bytes_and_closes(
    sandbox: SandboxServer, fault: Fault, received: bytes
):
    assert re.fullmatch(received, bytes_with_fault(sandbox, fault), re.DOTALL)


def test_invalid_gzip_cannot_be_decompressed(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=faults.INVALID_GZIP)
    with pytest.raises(requests.exceptions.ContentDecodingError):
        send(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)


def test_a_gzip_bomb_is_small_until_it_is_decompressed(sandbox: SandboxServer):
    pair, connection_id = payments_connection(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=faults.GZIP_BOMB)
    with send_delete(sandbox, pair, connection_id) as client, client.makefile("rb") as received:
        head = iter(received.readline, b"\r\n")
        lengths = [int(line[16:]) for line in head if line.startswith(b"Content-Length: ")]
        body = received.read(lengths[0])
    assert len(body) < 300_000
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as grown:
        assert len(grown.read(1_000_000)) == 1_000_000


@pytest.mark.parametrize(
    "fault", [faults.SLOW_HEADERS, faults.SLOW_BODY], ids=lambda fault: fault.name
)
def test_a_slow_response_takes_longer_than_any_deadline(sandbox: SandboxServer, fault: Fault):
    received = read_at_least(sandbox, replace(fault, interval=0.0001), length=1200)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 1200 * fault.interval > 30


def read_at_least(sandbox: SandboxServer, fault: Fault, *, length: int) -> bytes:
    pair, connection_id = payments_connection(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    received = b""
    with send_delete(sandbox, pair, connection_id) as client:
        while len(received) < length:
            received += client.recv(65536)
    return received


def test_a_held_response_comes_when_the_test_lets_it(sandbox: SandboxServer):
    event = threading.Event()
    with ThreadPoolExecutor() as pool:
        response = pool.submit(response_with_fault, sandbox, faults.held(until=event))
        assert sandbox.world.wait_until(lambda: bool(sandbox.world.requests(method="DELETE")))
        assert not response.done()
        event.set()
        assert response.result().status_code == 200
