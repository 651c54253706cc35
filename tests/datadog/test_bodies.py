"""A complete status line decides, even if headers or body are incomplete."""

import tracemalloc
from collections.abc import Callable

import pytest

from connections.datadog.responses import AttemptResult
from tests.datadog.actions import WriteUnderTest
from tests.datadog.servers import (
    Play,
    gzip_response,
    http_response,
    respond,
    respond_and_close,
    respond_and_drip,
    respond_and_reset,
)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("200 OK", None),
        ("403 Forbidden", AttemptResult.REFUSED),
        ("404 Not Found", AttemptResult.AMBIGUOUS),
        ("429 Too Many Requests", AttemptResult.RATE_LIMITED),
        ("500 Internal Server Error", AttemptResult.AMBIGUOUS),
    ],
)
@pytest.mark.parametrize("end", [respond_and_close, respond_and_reset])
@pytest.mark.parametrize("rest", ["", "Content-Type: app", "Content-Length: 9\r\n\r\n{}"])
def test_a_complete_status_line_decides_when_the_rest_is_cut(
    write: WriteUnderTest,
    status: str,
    verdict: AttemptResult | None,
    end: Callable[[bytes], Play],
    rest: str,
):
    result = write.send_against(end(f"HTTP/1.1 {status}\r\n{rest}".encode()))
    assert result.verdict is (verdict or write.success)
    assert result.http_status == int(status[:3])


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n{}",
        b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        b"X: y\r\n" * 200 + b"\r\n",
        b"\x00: \xff\r\nno colon\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestWarning")
def test_unparsable_headers_do_not_lose_the_status(write: WriteUnderTest, rest: bytes):
    result = write.send_against(respond_and_close(b"HTTP/1.1 200 OK\r\n" + rest))
    assert (result.verdict, result.http_status) == (write.success, 200)


BAD_GZIP = http_response(body=b"this is no gzip", headers={"Content-Encoding": "gzip"})
DRIPPED = b"HTTP/1.1 200 OK\r\nX-Drip: "
WITHOUT_LENGTH = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("play", "kept"),
    [
        pytest.param(respond_and_close(http_response(body=b"{", length=3)), b"{", id="cut"),
        pytest.param(respond(BAD_GZIP), b"", id="bad gzip"),
        pytest.param(respond(gzip_response(b"{}\n" * 1_000, cut=-6)), b"{}\n{}", id="cut gzip"),
        pytest.param(respond(http_response(body=b"x" * 200_000)), b"x" * 65_536, id="long"),
        pytest.param(respond_and_drip(DRIPPED, drop=b"x"), b"", id="dripped headers"),
        pytest.param(
            respond_and_drip(http_response(length=1_000_000), drop=b" "), b"{}\n", id="dripped"
        ),
        pytest.param(respond_and_drip(WITHOUT_LENGTH, drop=b" "), b"", id="dripped, no length"),
    ],
)
def test_a_200_is_a_success_however_its_body_ends(
    write: WriteUnderTest, play: Play, kept: bytes, request: pytest.FixtureRequest
):
    is_dripped = "dripped" in request.node.callspec.id
    result = write.send_against(play, deadline_seconds=2 if is_dripped else 5)
    assert (result.verdict, result.http_status) == (write.success, 200)
    assert not result.body_is_complete
    assert result.body.startswith(kept)
    assert len(result.body) <= 64 * 1024
    assert result.duration_ms < 10_000


def test_a_gzip_body_is_read(write: WriteUnderTest):
    result = write.send_against(respond(gzip_response(b"{}\n")))
    assert (result.body, result.body_is_complete) == (b"{}\n", True)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A response of 200 kB that grows to 200 MB."""
    return gzip_response(bytes(200 * 1024 * 1024))


@pytest.mark.parametrize("status", ["200 OK", "302 Found"])
def test_a_gzip_bomb_does_not_fill_the_memory(write: WriteUnderTest, bomb: bytes, status: str):
    # A redirect too: `requests` reads a redirect's body eagerly unless prevented.
    head = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:9/\r\n"
    bomb = bomb.replace(b"HTTP/1.1 200 OK\r\n", head.encode(), 1)
    tracemalloc.start()
    try:
        result = write.send_against(respond(bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.http_status == int(status[:3])
    assert len(result.body) == 64 * 1024
    assert not result.body_is_complete
    assert peak < 8 * 1024 * 1024
