"""Every way in which a request to Datadog can fail, each with a name.

A `Fault` defines two independent things: whether and when the request is executed (`executes`,
`late`), and after what (`first`); and what the client receives (`status`, `body`, `transmission`,
`alteration`). If `status` is None, the client receives the normal response, possibly altered or
truncated.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

JSON = "application/json"
HTML = "text/html; charset=utf-8"
HTML_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
    "<body><center><h1>{title}</h1></center></body></html>\n"
)


class Transmission(StrEnum):
    """How the bytes of the response are sent."""

    WHOLE = "whole"
    NOTHING = "nothing"  # the request is read; nothing is sent until the client leaves
    CLOSE = "close"  # the request is read; then an orderly close without a byte
    RESET = "reset"  # the request is read; then a TCP reset
    RESET_UNREAD = "reset_unread"  # a TCP reset before the request is read
    HALF_STATUS_LINE = "half_status_line"
    TRUNCATED_HEADERS = "truncated_headers"  # after a whole status line
    TRUNCATED_BODY = "truncated_body"  # after whole headers
    INVALID_GZIP = "invalid_gzip"  # labeled as gzip
    GZIP_BOMB = "gzip_bomb"  # 200 kB that expand to 200 MB
    SLOW_HEADERS = "slow_headers"  # byte by byte
    SLOW_BODY = "slow_body"
    CLOSE_AFTER_RESPONSE = "close_after_response"  # closes a connection that was kept alive


class Alteration(StrEnum):
    """What is wrong with a complete response with status 200."""

    NONE = "none"
    INCOMPLETE_PAGE = "incomplete_page"  # fewer entries than its total
    CHANGING_TOTAL = "changing_total"  # a different total on each page
    ANOTHER_ORG = "another_org"  # as if the keys belonged to another org of the site
    TRUNCATED_JSON = "truncated_json"
    NOT_AN_OBJECT = "not_an_object"  # valid JSON of another type
    # Only for connection lists. Each hides connections and would look like a complete list if it
    # didn't contain one contradiction.
    ERRORS_LIST = "errors_list"  # an empty list, and `errors`
    ERRORS_TEXT = "errors_text"
    ERRORS_OBJECT = "errors_object"
    COUNTS_DIFFER = "counts_differ"  # an empty list where only the filtered count is zero
    NOT_A_NUMBER = "not_a_number"  # an empty list, and NaN
    INFINITE_NUMBER = "infinite_number"
    DUPLICATE_NAMES = "duplicate_names"  # the whole list, then `data` and `meta` again, empty
    CONFLICTING_COPIES = "conflicting_copies"  # the last connection twice, with two types; count 1


class First(StrEnum):
    """What someone else does just before the request is executed, after any list."""

    NOTHING = "nothing"
    CREATES = "creates"  # the connection that a POST asks for
    CHANGES = "changes"  # the data types of the connection
    DELETES = "deletes"  # the connection


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail. Times are in seconds.

    `executes` says whether the request is executed, and `late` how long after the request. `delay`
    is how long the response is held back after that, at most until the event `until` is set, and
    `interval` the time between two bytes of a slow response. `errors` are the texts of a JSON
    error, in which `{connection_id}` is filled in.
    """

    name: str
    executes: bool
    status: int | None = None
    errors: tuple[str, ...] = ()
    body: str | None = None
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    transmission: Transmission = Transmission.WHOLE
    alteration: Alteration = Alteration.NONE
    first: First = First.NOTHING
    delay: float = 0.0
    until: threading.Event | None = None
    late: float = 0.0
    interval: float = 0.05


def _json(status: int, text: str, *, executes: bool = False, name: str = "") -> Fault:
    return Fault(name=name or f"returns_{status}", executes=executes, status=status, errors=(text,))


def _html(status: int, title: str, *, name: str) -> Fault:
    return Fault(
        name=name,
        executes=False,
        status=status,
        body=HTML_PAGE.format(title=title),
        content_type=HTML,
    )


def _transmitted(name: str, transmission: Transmission, *, executes: bool = True) -> Fault:
    return Fault(name=name, executes=executes, transmission=transmission)


def _altered(alteration: Alteration) -> Fault:
    return Fault(name=alteration.value, executes=True, alteration=alteration)


RETURNS_400 = _json(400, "connection id must be a valid uuid")
RETURNS_401 = _json(401, "Unauthorized")
RETURNS_403 = _json(403, "Forbidden")
RETURNS_404 = _json(404, "org connection with id:{connection_id} not found not found")
RETURNS_404_HTML = _html(404, "404 Not Found", name="returns_404_html")
RETURNS_404_TEXT = Fault(
    name="returns_404_text", executes=False, status=404, body="Not found", content_type="text/plain"
)
RETURNS_404_OTHER_JSON = _json(404, "Not found", name="returns_404_other_json")
RETURNS_408 = _json(408, "Request Timeout")
RETURNS_409 = _json(409, "Conflict")
RETURNS_500 = _json(500, "Internal Server Error")
RETURNS_502_HTML = _html(502, "502 Bad Gateway", name="returns_502_html")
RETURNS_503 = _json(503, "Service Unavailable")
RETURNS_204 = Fault(name="returns_204", executes=True, status=204, body="")
RETURNS_202 = Fault(name="returns_202", executes=False, status=202, body="{}\n")
RETURNS_200_HTML = _html(200, "Welcome", name="returns_200_html")
RETURNS_200_WITHOUT_DELETING = Fault(
    name="returns_200_without_deleting", executes=False, status=200, body="{}\n"
)
EXECUTES_THEN_500 = _json(500, "Internal Server Error", executes=True, name="executes_then_500")
EXECUTES_THEN_404 = _json(
    404,
    "org connection with id:{connection_id} not found not found",
    executes=True,
    name="executes_then_404",
)
SETS_COOKIE = Fault(
    name="sets_cookie", executes=True, headers=(("Set-Cookie", "dogweb=abc123; Path=/"),)
)
ANOTHER_CREATES_FIRST = Fault(name="another_creates_first", executes=True, first=First.CREATES)
ANOTHER_CHANGES_FIRST = Fault(name="another_changes_first", executes=True, first=First.CHANGES)
ANOTHER_DELETES_FIRST = Fault(name="another_deletes_first", executes=True, first=First.DELETES)

NO_RESPONSE = _transmitted("no_response", Transmission.NOTHING, executes=False)
EXECUTES_THEN_NO_RESPONSE = _transmitted("executes_then_no_response", Transmission.NOTHING)
RESET_BEFORE_READING = _transmitted(
    "reset_before_reading", Transmission.RESET_UNREAD, executes=False
)
RESET_AFTER_READING = _transmitted("reset_after_reading", Transmission.RESET, executes=False)
CLOSE_AFTER_READING = _transmitted("close_after_reading", Transmission.CLOSE, executes=False)
EXECUTES_THEN_RESET = _transmitted("executes_then_reset", Transmission.RESET)
EXECUTES_THEN_CLOSE = _transmitted("executes_then_close", Transmission.CLOSE)
HALF_STATUS_LINE = _transmitted("half_status_line", Transmission.HALF_STATUS_LINE)
TRUNCATED_HEADERS = _transmitted("truncated_headers", Transmission.TRUNCATED_HEADERS)
TRUNCATED_BODY = _transmitted("truncated_body", Transmission.TRUNCATED_BODY)
INVALID_GZIP = _transmitted("invalid_gzip", Transmission.INVALID_GZIP)
GZIP_BOMB = _transmitted("gzip_bomb", Transmission.GZIP_BOMB)
SLOW_HEADERS = _transmitted("slow_headers", Transmission.SLOW_HEADERS)
SLOW_BODY = _transmitted("slow_body", Transmission.SLOW_BODY)
CLOSES_AFTER_RESPONSE = _transmitted("closes_after_response", Transmission.CLOSE_AFTER_RESPONSE)

INCOMPLETE_PAGE = _altered(Alteration.INCOMPLETE_PAGE)
CHANGING_TOTAL = _altered(Alteration.CHANGING_TOTAL)
ANOTHER_ORG = _altered(Alteration.ANOTHER_ORG)
TRUNCATED_JSON = _altered(Alteration.TRUNCATED_JSON)
NOT_AN_OBJECT = _altered(Alteration.NOT_AN_OBJECT)
ERRORS_LIST = _altered(Alteration.ERRORS_LIST)
ERRORS_TEXT = _altered(Alteration.ERRORS_TEXT)
ERRORS_OBJECT = _altered(Alteration.ERRORS_OBJECT)
COUNTS_DIFFER = _altered(Alteration.COUNTS_DIFFER)
NOT_A_NUMBER = _altered(Alteration.NOT_A_NUMBER)
INFINITE_NUMBER = _altered(Alteration.INFINITE_NUMBER)
DUPLICATE_NAMES = _altered(Alteration.DUPLICATE_NAMES)
CONFLICTING_COPIES = _altered(Alteration.CONFLICTING_COPIES)

CONTRADICTIONS = (
    ERRORS_LIST,
    ERRORS_TEXT,
    ERRORS_OBJECT,
    COUNTS_DIFFER,
    NOT_A_NUMBER,
    INFINITE_NUMBER,
    DUPLICATE_NAMES,
    CONFLICTING_COPIES,
)
"""Lists that hide connections and contradict themselves."""


def rate_limited(*, reset: str | None = "7", html: bool = False) -> Fault:
    """A 429 that executes nothing. `reset` is the header's value; None omits the header."""
    headers = [
        ("X-RateLimit-Limit", "100"),
        ("X-RateLimit-Period", "60"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Name", "org_connections"),
    ]
    if reset is not None:
        headers.append(("X-RateLimit-Reset", reset))
    page = HTML_PAGE.format(title="429 Too Many Requests")
    return Fault(
        name="returns_429",
        executes=False,
        status=429,
        errors=() if html else ("Too many requests",),
        body=page if html else None,
        content_type=HTML if html else JSON,
        headers=tuple(headers),
    )


def redirected(*, status: int, location: str = "/api/v2/moved") -> Fault:
    """A redirect (3xx) that executes nothing."""
    return Fault(
        name=f"redirects_{status}",
        executes=False,
        status=status,
        body="",
        content_type="text/plain",
        headers=(("Location", location),),
    )


def delayed(*, seconds: float) -> Fault:
    """Executes immediately, responds later."""
    return Fault(name="delayed", executes=True, delay=seconds)


def held(*, until: threading.Event) -> Fault:
    """Executes immediately, responds when the event is set, or just before the client gives up."""
    return Fault(name="held", executes=True, delay=25.0, until=until)


def executes_late(*, seconds: float) -> Fault:
    """Sends no response and executes later, when the client no longer waits."""
    return Fault(
        name="executes_late", executes=True, transmission=Transmission.NOTHING, late=seconds
    )


_CONSTANTS = [value for value in list(globals().values()) if isinstance(value, Fault)]
_WITH_ARGUMENTS = [
    rate_limited(),
    replace(rate_limited(reset="7, 7"), name="returns_429_doubled"),
    replace(rate_limited(reset=None), name="returns_429_without_reset"),
    replace(rate_limited(reset="99999999999999999999; rm"), name="returns_429_hostile"),
    replace(rate_limited(html=True), name="returns_429_html"),
    *(redirected(status=status) for status in (301, 302, 303, 307, 308)),
    delayed(seconds=1.0),
    executes_late(seconds=40.0),
]
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in [*_CONSTANTS, *_WITH_ARGUMENTS]}
"""Every fault by its name, for the control API."""


def fault_by_name(*, name: str, changes: Mapping[str, Any] | None = None) -> Fault:
    """Return the fault with this name, with some values replaced.

    `changes` can contain delay, late and interval (seconds) and location (of a redirect). An
    unknown name raises KeyError, an unknown change ValueError.
    """
    fault = FAULTS[name]
    values = dict(changes or {})
    if "location" in values:
        fault = replace(fault, headers=(("Location", str(values.pop("location"))),))
    fault = replace(
        fault,
        delay=float(values.pop("delay", fault.delay)),
        late=float(values.pop("late", fault.late)),
        interval=float(values.pop("interval", fault.interval)),
    )
    if values:
        raise ValueError(f"a fault has no {', '.join(sorted(values))}")
    return fault
