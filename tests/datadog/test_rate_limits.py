"""What a response says about the org's rate limits."""

import pytest

from connections.datadog.client import DatadogClient
from connections.datadog.responses import RateLimit, parse_rate_limit
from tests.datadog.servers import ScriptedServer, http_response, key_pair, respond

HEADERS = {
    "x-ratelimit-limit": "100",
    "x-ratelimit-remaining": "9",
    "x-ratelimit-reset": "7",
    "x-ratelimit-name": "orgs",
}


def parse(**changes: str) -> RateLimit | None:
    """Parse HEADERS with these changes; the header `x-ratelimit-limit` is `limit`."""
    changed = {f"x-ratelimit-{name}": value for name, value in changes.items()}
    return parse_rate_limit(status=200, headers=HEADERS | changed)


def test_a_response_says_how_much_is_left_and_when_it_resets():
    assert parse() == RateLimit(name="orgs", limit=100, remaining=9, reset_seconds=7)


def test_the_headers_of_a_response_are_read_whatever_their_case():
    headers = {name.upper(): value for name, value in HEADERS.items()}
    doubled = headers | {"X-RATELIMIT-RESET": "7, 7"}
    with ScriptedServer([respond(http_response(body=b'{"data": []}', headers=doubled))]) as server:
        client = DatadogClient(base_url=server.url, keys=key_pair())
        client.list_org_connections()
    assert client.rate_limits == (parse(),)


@pytest.mark.parametrize(
    ("remaining", "is_low"), [("0", True), ("9", True), ("10", False), ("99", False)]
)
def test_less_than_a_tenth_is_low(remaining: str, *, is_low: bool):
    found = parse(remaining=remaining)
    assert found is not None
    assert found.is_low == is_low


@pytest.mark.parametrize("name", ["limit", "remaining", "reset"])
@pytest.mark.parametrize("value", ["", "-1", "abc", "1e3", "7;", "9" * 10, "²", "7\n7"])
def test_a_malformed_header_says_nothing(name: str, value: str):
    assert parse(**{name: value}) is None


def test_a_limit_of_zero_and_a_missing_response_say_nothing():
    assert parse(limit="0") is None
    assert parse_rate_limit(status=None, headers=HEADERS) is None


@pytest.mark.parametrize(
    ("headers", "limit", "seconds"),
    [
        ({}, 1, 60),
        ({"x-ratelimit-reset": "abc", "x-ratelimit-remaining": "50"}, 1, 60),
        ({"x-ratelimit-limit": "100", "x-ratelimit-reset": "0"}, 100, 1),
        ({"x-ratelimit-limit": "100", "x-ratelimit-reset": "86400"}, 100, 3600),
    ],
)
def test_a_429_says_that_nothing_is_left(headers: dict[str, str], limit: int, seconds: int):
    found = parse_rate_limit(status=429, headers=headers)
    assert found == RateLimit(name="", limit=limit, remaining=0, reset_seconds=seconds)


def test_a_long_or_unprintable_name_is_shortened_and_cleaned():
    found = parse(name="a\x07" + "b" * 500)
    assert found is not None
    assert found.name == "a\ufffd" + "b" * 98
