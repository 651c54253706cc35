"""A real `serve` with slow or silent clients; test_web_server.py tests the limits."""

import sys
import time
from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.support.connections import connections, trickling
from tests.support.processes import ROOT, Running, clean_environment, get

pytestmark = pytest.mark.slow

HEAD = b"GET /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
FORM = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one service for all tests here."""
    env = clean_environment(data_dir=tmp_path_factory.mktemp("slow"), PORT="0")
    with Running([sys.executable, str(ROOT / "manage.py"), "serve"], env=env) as process:
        line = process.wait_for_line("Org Admin is running at")
        number = int(line.rstrip("/").rpartition(":")[2])
        get(number, "/accounts/login/")
        yield number


def assert_it_responds_at_once(port: int) -> None:
    for path in ("/healthz", "/accounts/login/"):
        started = time.monotonic()
        assert get(port, path)[0] == 200
        # Otherwise it would be when the server disconnects the slow clients.
        assert time.monotonic() - started < settings.WEB_REQUEST_SECONDS / 2


def test_it_responds_at_once_despite_260_idle_and_trickling_connections(port: int):
    with (
        connections(port, 200),
        connections(port, 30, first=HEAD + b"X: ") as heads,
        connections(port, 30, first=FORM) as bodies,
        trickling([*heads, *bodies]),
    ):
        assert_it_responds_at_once(port)
    assert_it_responds_at_once(port)


def test_it_responds_at_once_despite_an_incomplete_request_for_each_thread(port: int):
    with connections(port, 8, first=b"G"):
        assert_it_responds_at_once(port)
    assert_it_responds_at_once(port)


def test_a_connection_is_reused_for_the_next_page(port: int):
    with connections(port, 1) as [connection]:
        for _ in range(2):
            connection.sendall(HEAD.replace(b"GET", b"HEAD") + b"\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
