"""No error, log or repr reveals a key."""

import gc
import logging
import types
from collections.abc import Iterator

import pytest
import requests

from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.datadog.client import DatadogClient
from connections.datadog.responses import DatadogError
from connections.net.connection import TrackedConnection
from connections.net.http import Route, pool
from tests.datadog.actions import WriteUnderTest
from tests.datadog.servers import (
    API_KEY,
    APPLICATION_KEY,
    Play,
    ScriptedServer,
    http_response,
    json_response,
    key_pair,
    respond,
    respond_and_close,
    respond_and_reset,
    respond_and_wait,
)

CALLS = ["list_org_connections", "whoami", "validate_api_key", "validate_key_pair"]
# The walk stops at the Secret wrapper, and at code and classes, which reference everything.
BOUNDARIES = (
    Secret,
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
)


def walk(start: object) -> Iterator[object]:
    """Every object that can be reached, including the local variables of traceback frames."""
    waiting, known = [start], set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) in known or isinstance(found, BOUNDARIES):
            continue
        known.add(id(found))
        yield found
        if isinstance(found, types.FrameType):
            waiting.append(found.f_locals)
        else:
            waiting.extend(gc.get_referents(found))
        if isinstance(found, BaseException):
            waiting.extend([found.__cause__, found.__context__, found.__traceback__])
        if isinstance(found, types.TracebackType):
            waiting.extend([found.tb_frame, found.tb_next])


def call_and_catch(url: str, call: str) -> DatadogError:
    """The error; this frame, which is in its traceback, holds the keys only as Secrets."""
    client = DatadogClient(
        base_url=url,
        keys=key_pair(),
    )
    try:
        getattr(client, call)(deadline_seconds=2)
    except DatadogError as error:
        return error
    raise AssertionError("The call must fail.")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "play",
    [
        respond(json_response({"errors": ["no"]}, status="403 Forbidden")),
        respond(http_response(body=b"<html>")),
        respond_and_reset(),
        respond_and_wait(),
        respond_and_close(b"HTTP/1.1 2"),
        respond_and_close(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n"),
    ],
)
def test_an_error_references_no_key_and_no_request(call: str, play: Play):
    with ScriptedServer([play]) as server:
        error = call_and_catch(server.url, call)
    assert (error.__cause__, error.__context__) == (None, None)
    assert_clean(error)


@pytest.mark.parametrize("call", CALLS)
def test_an_error_before_connecting_references_no_key(call: str):
    error = call_and_catch("https://no-such-site..example", call)
    assert (error.__cause__, error.__context__) == (None, None)
    assert_clean(error)


def assert_clean(start: object) -> None:
    for found in walk(start):
        assert not isinstance(found, requests.Session | requests.PreparedRequest)
        if isinstance(found, str | bytes):
            text = found if isinstance(found, str) else found.decode("latin-1")
            assert API_KEY not in text
            assert APPLICATION_KEY not in text


def test_a_warm_connection_holds_no_key(write: WriteUnderTest):
    with ScriptedServer([respond(http_response())]) as server, pool() as connections:
        client = DatadogClient(
            base_url=server.url,
            keys=key_pair(),
        )
        write.call(client, 5)
        found = list(walk(connections))
    strings = [each for each in found if isinstance(each, str | bytes)]
    assert any(isinstance(each, TrackedConnection) for each in found)
    assert len(strings) > 10
    for string in strings:
        text = string if isinstance(string, str) else string.decode("latin-1")
        assert API_KEY not in text
        assert APPLICATION_KEY not in text


def test_debug_logs_contain_no_key(write: WriteUnderTest, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(
        [respond(http_response()), respond_and_close(b"HTTP/1.1 200 OK\r\nbroken")]
    ) as server:
        client = DatadogClient(
            base_url=server.url,
            keys=key_pair(),
        )
        write.call(client, 5)
        write.call(client, 5)
    assert "/api/v2/org_connections" in caplog.text
    assert API_KEY not in caplog.text
    assert APPLICATION_KEY not in caplog.text


def test_the_repr_of_a_client_shows_only_its_address():
    client = DatadogClient(
        base_url="https://api.datadoghq.eu",
        keys=key_pair(),
        route=Route(proxy_url="http://name:password@127.0.0.1:3128"),
    )
    assert repr(client) == "DatadogClient(base_url='https://api.datadoghq.eu')"


@pytest.mark.parametrize(
    "key", ["abc\ndef", "abc\r\nX: y", "abc\x00def", "abc def", "abc\tdef", "schl\u00fcssel", ""]
)
@pytest.mark.parametrize("which", ["api_key", "application_key"])
def test_a_key_that_is_invalid_in_a_header_is_refused_without_repeating_it(which: str, key: str):
    secrets = {"api_key": Secret("good"), "application_key": Secret("good")} | {which: Secret(key)}
    with pytest.raises(ValueError, match="key must be printable ASCII") as caught:
        DatadogClient(base_url="https://api.datadoghq.com", keys=KeyPair(**secrets))
    assert "abc" not in str(caught.value)
    assert "schl" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.datadoghq.com",
        "http://127.0.0.1.example.com",
        "https://api.datadoghq.com/path",
        "https://someone@api.datadoghq.com",
        "ftp://127.0.0.1",
        "api.datadoghq.com",
        "",
    ],
)
def test_keys_are_sent_only_over_tls_except_to_this_machine(base_url: str):
    with pytest.raises(ValueError, match="address is https://host"):
        DatadogClient(
            base_url=base_url, keys=KeyPair(api_key=Secret("a"), application_key=Secret("b"))
        )


@pytest.mark.parametrize("proxy_url", ["socks5://127.0.0.1:1080", "127.0.0.1:3128", "http:"])
def test_a_proxy_with_another_scheme_is_refused(proxy_url: str):
    with pytest.raises(ValueError, match="proxy's address"):
        DatadogClient(
            base_url="https://api.datadoghq.com",
            keys=KeyPair(api_key=Secret("a"), application_key=Secret("b")),
            route=Route(proxy_url=proxy_url),
        )
