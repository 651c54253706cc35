"""The web server by itself, in a thread, with test applications."""

import contextlib
import http.client
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import pytest
from pytest_django import Settings
from waitress import buffers, wasyncore

from connections.operations import serving
from orgadmin import web_server
from orgadmin.web_server import Application, Server
from tests.support.connections import connections, is_cut, trickling
from tests.support.processes import until

PATIENCE = 20.0
CHUNK = b"x" * 65_536
MIB = 1024 * 1024


class RunningServer:
    """An application being served."""

    def __init__(self, application: Application) -> None:
        self.listener = serving.open_listener(host="127.0.0.1", port=0)
        self.port = int(self.listener.getsockname()[1])
        self.server = Server(application, listener=self.listener)
        self.thread = Thread(target=self.server.run)
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def request(self, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """The status and body of a response, over a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, "/", headers=headers)
            response = connection.getresponse()
            return response.status, response.read()

    def has_ended(self) -> bool:
        return not self.thread.is_alive()


Serve = Callable[[Application], RunningServer]


@pytest.fixture
def serve(settings: Settings) -> Iterator[Serve]:
    """Serves applications until the test ends."""
    settings.WEB_REQUEST_SECONDS = 1
    settings.TRUSTED_PROXIES = []
    running: list[RunningServer] = []

    def start(application: Application) -> RunningServer:
        running.append(RunningServer(application))
        return running[-1]

    yield start
    for one in running:
        one.server.stop(drain_seconds=0)
        one.thread.join(PATIENCE)
        assert one.has_ended()
        one.server.task_dispatcher.shutdown()
        wasyncore.close_all(one.server._map)


class Stream:
    """A body of 100 MiB that counts what was generated, and whether it was closed."""

    def __init__(self) -> None:
        self.generated = 0
        self.is_closed = Event()

    def __iter__(self) -> Iterator[bytes]:
        while self.generated < 100 * MIB:
            self.generated += len(CHUNK)
            yield CHUNK

    def close(self) -> None:
        self.is_closed.set()


def streaming(stream: Stream) -> Application:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return stream

    return application


class BlockingApp:
    """An application that signals when it is called, and responds when released."""

    def __init__(self) -> None:
        self.is_called = Event()
        self.may_respond = Event()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            self.is_called.set()
            assert self.may_respond.wait(PATIENCE)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]


def test_the_body_of_an_import_alone_stays_in_memory_whatever_its_size(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    # The first request loads all pages.
    settings.WEB_REQUEST_SECONDS = 2 * PATIENCE
    files: list[str] = []
    make = buffers.TempfileBasedBuffer.newfile

    def make_and_count(buffer: Any) -> Any:
        files.append("made")
        return make(buffer)

    monkeypatch.setattr(buffers.TempfileBasedBuffer, "newfile", make_and_count)
    read: list[int] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        read.append(len(environ["wsgi.input"].read()))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    server = serve(application)
    content = b"x" * (settings.WEB_MAX_BODY_SIZE - 1)
    for path, made in (("/credentials/import/", []), ("/other/", ["made"])):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("POST", path, body=content)
            assert connection.getresponse().status == 200
        assert files == made
    assert read == [len(content)] * 2


def test_a_request_that_takes_too_long_to_arrive_is_disconnected(serve: Serve):
    port = serve(BlockingApp()).port
    head, form = b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
    with (
        connections(port, 1) as silent,
        connections(port, 1, first=b"G") as one_byte,
        connections(port, 1, first=head) as heads,
        connections(port, 1, first=form) as bodies,
        connections(port, 1, first=b"\r\n") as blank_lines,
        trickling([*heads, *bodies]),
        trickling(blank_lines, with_bytes=b"\r\n\r\n"),
    ):
        for [connection] in (silent, one_byte, heads, bodies, blank_lines):
            assert any(is_cut(connection) for _ in until(PATIENCE))


def test_a_connection_in_use_is_not_disconnected(serve: Serve):
    client = http.client.HTTPConnection("127.0.0.1", serve(BlockingApp()).port, timeout=PATIENCE)
    with contextlib.closing(client):
        client.connect()
        connection = client.sock
        # Three times the time limit of a request.
        for _ in until(3):
            client.request("GET", "/")
            assert client.getresponse().read() == b"done"
        assert client.sock is connection


def test_when_all_connections_are_in_use_idle_ones_are_closed(serve: Serve, settings: Settings):
    settings.WEB_REQUEST_SECONDS = 2 * PATIENCE
    settings.WEB_CONNECTIONS = 10
    running = serve(BlockingApp())
    with connections(running.port, 60) as opened:
        assert running.request() == (200, b"done")
        assert is_cut(opened[0])
        assert not is_cut(opened[-1])


def test_a_body_that_is_too_large_is_refused_unread(serve: Serve, settings: Settings):
    settings.WEB_MAX_BODY_SIZE = 1000
    with serve(BlockingApp()).connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_long_stream_arrives_completely(serve: Serve):
    stream = Stream()
    status, body = serve(streaming(stream)).request()
    assert (status, len(body)) == (200, 100 * MIB)
    assert stream.is_closed.is_set()


def test_a_stream_is_generated_as_fast_as_it_is_read_and_closed_when_reading_stops(serve: Serve):
    stream = Stream()
    with serve(streaming(stream)).connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.is_closed.wait(PATIENCE)
    # What the buffers of both sockets take, and then one of the server.
    assert stream.generated < 15 * MIB


def test_a_stream_ends_when_its_client_disconnects(serve: Serve, settings: Settings):
    settings.WEB_REQUEST_SECONDS = 2 * PATIENCE
    stream = Stream()
    with serve(streaming(stream)).connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1)
    assert stream.is_closed.wait(PATIENCE)
    # What the buffers of both sockets take, and then one of the server.
    assert stream.generated < 15 * MIB


def test_the_response_to_head_has_no_body_and_none_is_generated(serve: Serve):
    stream = Stream()
    with serve(streaming(stream)).connect() as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        response = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert response.endswith(b"\r\n\r\n")
    assert response.count(b"\r\n\r\n") == 1
    assert (stream.generated, stream.is_closed.is_set()) == (0, True)


def test_a_slow_application_is_not_treated_as_a_slow_client(serve: Serve):
    app = BlockingApp()
    running = serve(app)
    with ThreadPoolExecutor() as pool:
        response = pool.submit(running.request, "POST")
        assert app.is_called.wait(PATIENCE)
        for _ in until(2.5):  # more than twice as long as a client has
            pass
        app.may_respond.set()
        assert response.result() == (200, b"done")


def test_stopping_finishes_a_running_request_and_serves_the_page_after_it(serve: Serve):
    app = BlockingApp()
    running = serve(app)
    with ThreadPoolExecutor() as pool:
        response = pool.submit(running.request, "POST")
        assert app.is_called.wait(PATIENCE)
        running.server.stop(drain_seconds=0)
        running.server.stop(drain_seconds=0)
        assert running.request("POST")[0] == 503
        app.may_respond.set()
        assert response.result() == (200, b"done")
    assert running.request("GET") == (200, b"done")
    running.thread.join(PATIENCE)
    assert running.has_ended()
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_stopping_finishes_a_request_even_if_its_client_has_disconnected(serve: Serve):
    app = BlockingApp()
    running = serve(app)
    with running.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.is_called.wait(PATIENCE)
    running.server.stop(drain_seconds=0)
    assert not any(running.has_ended() for _ in until(0.5))
    app.may_respond.set()
    running.thread.join(PATIENCE)
    assert running.has_ended()


def test_draining_answers_503_to_readyz_alone_and_ends_connections(serve: Serve):
    running = serve(BlockingApp())
    client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)

    def ask(method: str, path: str) -> tuple[int, str | None]:
        client.request(method, path)
        response = client.getresponse()
        response.read()
        return response.status, response.getheader("Connection")

    with contextlib.closing(client):
        assert ask("GET", "/readyz") == (200, None)
        running.server.stop(drain_seconds=PATIENCE)
        assert ask("GET", "/readyz") == (503, "close")
        assert ask("HEAD", "/readyz") == (503, "close")
        assert ask("GET", "/") == (200, "close")
    # A signal for which it doesn't drain.
    running.server.stop(drain_seconds=0)
    running.thread.join(PATIENCE / 2)
    assert running.has_ended()


def test_stopping_does_not_wait_for_idle_connections(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web_server, "FOLLOW_SECONDS", 2 * PATIENCE)
    running = serve(BlockingApp())
    with connections(running.port, 2, first=b"G"):
        assert any(len(running.server.active_channels) == 2 for _ in until(PATIENCE))
        running.server.stop(drain_seconds=0)
        running.thread.join(PATIENCE)
        assert running.has_ended()


def test_it_stops_even_if_a_request_never_ends(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web_server, "STOP_SECONDS", 0.5)
    app = BlockingApp()
    running = serve(app)
    with running.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.is_called.wait(PATIENCE)
        running.server.stop(drain_seconds=0)
        running.thread.join(PATIENCE)
        assert running.has_ended()
        app.may_respond.set()


@pytest.mark.parametrize(
    ("trusted", "headers", "scheme"),
    [
        (["127.0.0.1"], {"X-Forwarded-Proto": "https"}, "https"),
        (["10.0.0.1", "127.0.0.0/8"], {"X-Forwarded-Proto": "https"}, "https"),
        (["*"], {"X-Forwarded-Proto": "https"}, "https"),
        (["127.0.0.1"], {"X-Forwarded-Ssl": "on"}, "https"),
        (["127.0.0.1"], {"X-Forwarded-Proto": "http"}, "http"),
        (["127.0.0.1"], {"X-Forwarded-Proto": "https, http"}, "http"),
        (["127.0.0.1"], {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}, "http"),
        (["127.0.0.1"], {"X_Forwarded_Proto": "https"}, "http"),
        (["127.0.0.1"], {"Forwarded": "proto=https"}, "http"),
        (["10.0.0.1"], {"X-Forwarded-Proto": "https"}, "http"),
        ([], {"X-Forwarded-Proto": "https"}, "http"),
    ],
)
def test_the_scheme_comes_from_a_trusted_proxy_and_the_address_is_the_peers(
    serve: Serve, settings: Settings, trusted: list[str], headers: dict[str, str], scheme: str
):
    settings.TRUSTED_PROXIES = trusted

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        names = ("wsgi.url_scheme", "REMOTE_ADDR", "HTTP_X_FORWARDED_FOR")
        return [" ".join(environ[name] for name in names).encode()]

    running = serve(application)
    _, body = running.request(**{"X-Forwarded-For": "1.2.3.4"} | headers)
    assert body.decode() == f"{scheme} 127.0.0.1 1.2.3.4"
