"""Each fault shows on the socket what it says, and has in the world the effect it says."""

import gzip
import io
import socket
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import requests

from sandbox import faults
from sandbox.faults import FAULTS, Fault, Wire
from sandbox.server import SandboxServer
from tests.sandbox.client import LIST, ask, bytes_of_delete, send_delete, to_payments
from tests.support.sandbox import EU, key_pair_of, org_named

CATALOGUE = [
    replace(one, late=min(one.late, 0.05), delay=min(one.delay, 0.05), interval=0.0001)
    for one in FAULTS.values()
]
ANSWERED = [one for one in CATALOGUE if one.status is not None and one.wire is Wire.ANSWER]


def answer_under(sandbox: SandboxServer, fault: Fault) -> requests.Response:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    return ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)


def bytes_under(sandbox: SandboxServer, fault: Fault) -> bytes:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    return bytes_of_delete(sandbox, pair, connection_id)


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.name)
def test_a_fault_executes_exactly_when_it_says_so(sandbox: SandboxServer, fault: Fault) -> None:
    pair, connection_id = to_payments(sandbox)
    world = sandbox.world
    world.set_fault(connection_id=connection_id, fault=fault)
    with send_delete(sandbox, pair, connection_id) as client:
        assert world.wait_until(lambda: world.deletes_received(connection_id) == 1)
        if fault.executes:
            assert world.wait_until(lambda: world.deletes_executed(connection_id) == 1)
        else:
            with suppress(OSError):  # reset before this end could close
                client.shutdown(socket.SHUT_WR)
                client.recv(65536)
    assert (world.connection(connection_id=connection_id) is None) is fault.executes
    assert world.deletes_executed(connection_id) == int(fault.executes)
    assert world.requests(connection_id=connection_id)[0].fault == fault.name


@pytest.mark.parametrize("fault", ANSWERED, ids=lambda fault: fault.name)
def test_an_answering_fault_answers_its_status_and_type(
    sandbox: SandboxServer, fault: Fault
) -> None:
    answer = answer_under(sandbox, fault)
    assert answer.status_code == fault.status
    assert answer.headers["Content-Type"] == fault.content_type
    if fault.errors:
        assert list(answer.json()) == ["errors"]


def test_a_404_names_the_id_though_the_connection_is_still_there(sandbox: SandboxServer) -> None:
    answer = answer_under(sandbox, faults.ANSWERS_404)
    _, connection_id = to_payments(sandbox)
    text = f"org connection with id:{connection_id} not found not found"
    assert answer.json() == {"errors": [text]}


@pytest.mark.parametrize(
    ("name", "reset"),
    [
        ("answers_429", "7"),
        ("answers_429_doubled", "7, 7"),
        ("answers_429_without_reset", None),
        ("answers_429_hostile", "99999999999999999999; rm"),
    ],
)
def test_a_429_sends_reset_as_told(sandbox: SandboxServer, name: str, reset: str | None) -> None:
    answer = answer_under(sandbox, FAULTS[name])
    assert answer.headers.get("X-RateLimit-Reset") == reset
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_a_redirect_names_another_place(sandbox: SandboxServer) -> None:
    elsewhere = f"{sandbox.base_urls[EU]}/elsewhere"
    answer = answer_under(sandbox, faults.redirected(status=307, location=elsewhere))
    assert (answer.status_code, answer.headers["Location"]) == (307, elsewhere)


def test_a_cookie_comes_with_the_proper_answer(sandbox: SandboxServer) -> None:
    answer = answer_under(sandbox, faults.SETS_COOKIE)
    assert (answer.status_code, answer.text) == (200, "{}\n")
    assert "dogweb" in answer.cookies


@pytest.mark.parametrize(
    "fault",
    [faults.CUT_BEFORE_READING, faults.CUT_AFTER_READING, faults.DELETE_THEN_CUT],
    ids=lambda fault: fault.name,
)
def test_a_cut_is_a_tcp_reset(sandbox: SandboxServer, fault: Fault) -> None:
    with pytest.raises(ConnectionResetError):
        bytes_under(sandbox, fault)


@pytest.mark.parametrize(
    "fault",
    [faults.CLOSE_AFTER_READING, faults.DELETE_THEN_CLOSE],
    ids=lambda fault: fault.name,
)
def test_a_close_ends_in_order_without_a_byte(sandbox: SandboxServer, fault: Fault) -> None:
    assert bytes_under(sandbox, fault) == b""


def test_half_a_status_line_stops_within_the_status(sandbox: SandboxServer) -> None:
    assert bytes_under(sandbox, faults.HALF_STATUS_LINE) == b"HTTP/1.1 2"


def test_cut_headers_come_after_a_whole_status_line(sandbox: SandboxServer) -> None:
    received = bytes_under(sandbox, faults.CUT_HEADERS)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in received


def test_a_cut_body_is_shorter_than_its_length_says(sandbox: SandboxServer) -> None:
    head, _, body = bytes_under(sandbox, faults.CUT_BODY).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 515" in head
    assert body == b"{"


def test_bad_gzip_says_gzip_and_is_not(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=faults.BAD_GZIP)
    with pytest.raises(requests.exceptions.ContentDecodingError):
        ask(sandbox, "DELETE", f"{LIST}/{connection_id}", pair=pair)


def test_a_gzip_bomb_is_small_on_the_wire_and_grows(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=faults.GZIP_BOMB)
    with send_delete(sandbox, pair, connection_id) as client, client.makefile("rb") as received:
        head = iter(received.readline, b"\r\n")
        lengths = [int(line[16:]) for line in head if line.startswith(b"Content-Length: ")]
        body = received.read(lengths[0])
    assert len(body) < 300_000
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as grown:
        assert len(grown.read(1_000_000)) == 1_000_000


@pytest.mark.parametrize(
    "fault", [faults.DRIPPED_HEADERS, faults.DRIPPED_BODY], ids=lambda fault: fault.name
)
def test_a_dripped_answer_comes_byte_by_byte_for_longer_than_any_deadline(
    sandbox: SandboxServer, fault: Fault
) -> None:
    received = bytes_under_until(sandbox, replace(fault, interval=0.0001), length=1200)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 1200 * fault.interval > 30


def bytes_under_until(sandbox: SandboxServer, fault: Fault, *, length: int) -> bytes:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=fault)
    received = b""
    with send_delete(sandbox, pair, connection_id) as client:
        while len(received) < length:
            received += client.recv(65536)
    return received


def test_silence_sends_nothing_and_holds_nobody_else_up(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    sandbox.world.set_fault(connection_id=connection_id, fault=faults.SILENCE)
    with send_delete(sandbox, pair, connection_id) as client:
        assert ask(sandbox, "GET", LIST, pair=pair).status_code == 200
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_delay_passes_before_the_proper_answer(sandbox: SandboxServer) -> None:
    began = time.monotonic()
    assert answer_under(sandbox, faults.delayed(seconds=0.1)).status_code == 200
    assert time.monotonic() - began >= 0.1


def test_a_late_effect_comes_after_the_client_has_left(sandbox: SandboxServer) -> None:
    pair, connection_id = to_payments(sandbox)
    world = sandbox.world
    world.set_fault(connection_id=connection_id, fault=faults.executed_late(seconds=0.1))
    with send_delete(sandbox, pair, connection_id) as client:
        client.settimeout(0.02)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert world.connection(connection_id=connection_id) is not None
    assert world.wait_until(lambda: world.deletes_executed(connection_id) == 1)


def test_an_idle_connection_is_closed_after_a_whole_answer(sandbox: SandboxServer) -> None:
    received = bytes_under(sandbox, faults.CLOSES_IDLE_CONNECTION)
    assert received.endswith(b"\r\n\r\n{}\n")
    assert b"Connection: close" not in received


def listing_under(sandbox: SandboxServer, fault: Fault, query: str = "") -> requests.Response:
    pair, _ = to_payments(sandbox)
    sandbox.world.set_fault(org=pair.org, method="GET", fault=fault)
    return ask(sandbox, "GET", LIST + query, pair=pair)


def test_half_a_page_says_more_than_it_holds(sandbox: SandboxServer) -> None:
    page = listing_under(sandbox, faults.HALF_A_PAGE).json()
    assert (len(page["data"]), page["meta"]["page"]["total_filtered_count"]) == (1, 2)


def test_a_shifting_total_differs_from_page_to_page(sandbox: SandboxServer) -> None:
    pages = [
        listing_under(sandbox, faults.SHIFTING_TOTAL, f"?limit=1&offset={offset}").json()
        for offset in (0, 1)
    ]
    assert [page["meta"]["page"]["total_filtered_count"] for page in pages] == [3, 4]


def test_truncated_json_is_a_whole_answer_that_no_parser_takes(sandbox: SandboxServer) -> None:
    answer = listing_under(sandbox, faults.TRUNCATED_JSON)
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_an_object_is_expected_and_a_list_comes(sandbox: SandboxServer) -> None:
    assert isinstance(listing_under(sandbox, faults.NOT_AN_OBJECT).json(), list)


@pytest.mark.parametrize("fault", faults.CONTRADICTIONS, ids=lambda fault: fault.name)
def test_a_contradiction_looks_complete_to_a_lenient_reader_and_hides_a_connection(
    sandbox: SandboxServer, fault: Fault
) -> None:
    _, connection_id = to_payments(sandbox)
    page = listing_under(sandbox, fault).json()
    ids = {one["id"] for one in page["data"]}
    assert page["meta"]["page"]["total_filtered_count"] == len(ids)
    assert connection_id not in ids


def test_keys_of_another_org_list_that_orgs_connections(sandbox: SandboxServer) -> None:
    world = sandbox.world
    labs = key_pair_of(world, "Labs EU")
    world.set_fault(org=labs.org, operation="current_user", fault=faults.ANOTHER_ORG)
    whoami = ask(sandbox, "GET", "/api/v2/current_user", pair=labs).json()
    lake = org_named(world, "Data Lake EU")
    assert whoami["data"]["relationships"]["org"]["data"]["id"] == lake.id


@pytest.mark.parametrize(
    ("fault", "status"),
    [(faults.ANSWERS_403, 403), (faults.ANSWERS_500, 500), (faults.ANSWERS_200_HTML, 200)],
    ids=lambda value: value.name if isinstance(value, Fault) else str(value),
)
def test_a_listing_fails_for_one_org_and_not_for_another(
    sandbox: SandboxServer, fault: Fault, status: int
) -> None:
    assert listing_under(sandbox, fault).status_code == status
    soc = key_pair_of(sandbox.world, "Group SOC")
    assert "data" in ask(sandbox, "GET", LIST, pair=soc).json()
