"""Everything that can go wrong between a client and Datadog, each with a name.

A `Fault` says two independent things: what becomes of the request in the world (`executes`,
`late`) and what the client gets to see of it (`status`, `body`, `wire`, `alters`). Where `status`
is None the client gets the proper answer, perhaps damaged on its way.
"""

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


class Wire(StrEnum):
    """How the bytes of the answer travel."""

    ANSWER = "answer"  # whole
    SILENCE = "silence"  # read, never answered
    CLOSE = "close"  # read, closed in order without a byte
    RESET = "reset"  # read, then a TCP reset
    RESET_UNREAD = "reset_unread"  # a TCP reset, the request still lies in the socket
    HALF_STATUS_LINE = "half_status_line"
    CUT_HEADERS = "cut_headers"  # the status line is whole
    CUT_BODY = "cut_body"  # status line and headers are whole
    BAD_GZIP = "bad_gzip"  # says gzip, is not
    GZIP_BOMB = "gzip_bomb"  # 200 kB that grow to 200 MB
    DRIP_HEADERS = "drip_headers"  # byte by byte
    DRIP_BODY = "drip_body"
    CLOSE_AFTER = "close_after"  # whole answer, then the kept-alive connection is closed


class Alteration(StrEnum):
    """How a whole, well-formed answer of 200 says something wrong."""

    NONE = "none"
    HALF_A_PAGE = "half_a_page"  # fewer entries than the total says
    SHIFTING_TOTAL = "shifting_total"  # each page tells another total
    ANOTHER_ORG = "another_org"  # as if the keys belonged to another org of the site
    TRUNCATED_JSON = "truncated_json"  # stops in the middle
    NOT_AN_OBJECT = "not_an_object"  # JSON of another shape
    # Of a listing only. Each hides connections and would pass for a whole list but for one
    # contradiction in it.
    ERRORS_LIST = "errors_list"  # an empty list, and `errors`
    ERRORS_TEXT = "errors_text"
    ERRORS_OBJECT = "errors_object"
    COUNTS_DIFFER = "counts_differ"  # an empty list; only the filtered count is zero
    NOT_A_NUMBER = "not_a_number"  # an empty list, and NaN
    INFINITE_NUMBER = "infinite_number"
    REPEATED_NAMES = "repeated_names"  # the whole list, then `data` and `meta` again, empty
    TWO_CONTENTS = "two_contents"  # the last connection twice, with other types; counted once


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to go wrong; times are seconds.

    `executes`: the request has its effect. `late`: the effect comes that long after the request.
    `delay`: the answer comes that long after the effect. `interval`: between two dripped bytes.
    `errors`: the texts of a JSON error answer; `{connection_id}` in them is filled in.
    """

    name: str
    executes: bool
    status: int | None = None
    errors: tuple[str, ...] = ()
    body: str | None = None
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    wire: Wire = Wire.ANSWER
    alters: Alteration = Alteration.NONE
    delay: float = 0.0
    late: float = 0.0
    interval: float = 0.05


def _json(status: int, text: str, *, executes: bool = False, name: str = "") -> Fault:
    return Fault(name=name or f"answers_{status}", executes=executes, status=status, errors=(text,))


def _html(status: int, title: str, *, name: str, executes: bool = False) -> Fault:
    return Fault(
        name=name,
        executes=executes,
        status=status,
        body=HTML_PAGE.format(title=title),
        content_type=HTML,
    )


ANSWERS_400 = _json(400, "connection id must be a valid uuid")
ANSWERS_401 = _json(401, "Unauthorized")
ANSWERS_403 = _json(403, "Forbidden")
ANSWERS_404 = _json(404, "org connection with id:{connection_id} not found not found")
ANSWERS_404_HTML = _html(404, "404 Not Found", name="answers_404_html")
ANSWERS_404_BARE = Fault(
    name="answers_404_bare", executes=False, status=404, body="Not found", content_type="text/plain"
)
ANSWERS_404_BARE_JSON = _json(404, "Not found", name="answers_404_bare_json")
ANSWERS_408 = _json(408, "Request Timeout")
ANSWERS_409 = _json(409, "Conflict")
ANSWERS_500 = _json(500, "Internal Server Error")
ANSWERS_502_HTML = _html(502, "502 Bad Gateway", name="answers_502_html")
ANSWERS_503 = _json(503, "Service Unavailable")
ANSWERS_204 = Fault(name="answers_204", executes=True, status=204, body="")
ANSWERS_202 = Fault(name="answers_202", executes=False, status=202, body="{}\n")
ANSWERS_200_HTML = _html(200, "Welcome", name="answers_200_html")
ANSWERS_200_WITHOUT_DELETING = Fault(
    name="answers_200_without_deleting", executes=False, status=200, body="{}\n"
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

SILENCE = Fault(name="silence", executes=False, wire=Wire.SILENCE)
EXECUTES_THEN_SILENCE = Fault(name="executes_then_silence", executes=True, wire=Wire.SILENCE)
CUT_BEFORE_READING = Fault(name="cut_before_reading", executes=False, wire=Wire.RESET_UNREAD)
CUT_AFTER_READING = Fault(name="cut_after_reading", executes=False, wire=Wire.RESET)
CLOSE_AFTER_READING = Fault(name="close_after_reading", executes=False, wire=Wire.CLOSE)
DELETE_THEN_CUT = Fault(name="delete_then_cut", executes=True, wire=Wire.RESET)
DELETE_THEN_CLOSE = Fault(name="delete_then_close", executes=True, wire=Wire.CLOSE)
HALF_STATUS_LINE = Fault(name="half_status_line", executes=True, wire=Wire.HALF_STATUS_LINE)
CUT_HEADERS = Fault(name="cut_headers", executes=True, wire=Wire.CUT_HEADERS)
CUT_BODY = Fault(name="cut_body", executes=True, wire=Wire.CUT_BODY)
BAD_GZIP = Fault(name="bad_gzip", executes=True, wire=Wire.BAD_GZIP)
GZIP_BOMB = Fault(name="gzip_bomb", executes=True, wire=Wire.GZIP_BOMB)
DRIPPED_HEADERS = Fault(name="dripped_headers", executes=True, wire=Wire.DRIP_HEADERS)
DRIPPED_BODY = Fault(name="dripped_body", executes=True, wire=Wire.DRIP_BODY)
CLOSES_IDLE_CONNECTION = Fault(name="closes_idle_connection", executes=True, wire=Wire.CLOSE_AFTER)

HALF_A_PAGE = Fault(name="half_a_page", executes=True, alters=Alteration.HALF_A_PAGE)
SHIFTING_TOTAL = Fault(name="shifting_total", executes=True, alters=Alteration.SHIFTING_TOTAL)
ANOTHER_ORG = Fault(name="another_org", executes=True, alters=Alteration.ANOTHER_ORG)
TRUNCATED_JSON = Fault(name="truncated_json", executes=True, alters=Alteration.TRUNCATED_JSON)
NOT_AN_OBJECT = Fault(name="not_an_object", executes=True, alters=Alteration.NOT_AN_OBJECT)
ERRORS_LIST = Fault(name="errors_list", executes=True, alters=Alteration.ERRORS_LIST)
ERRORS_TEXT = Fault(name="errors_text", executes=True, alters=Alteration.ERRORS_TEXT)
ERRORS_OBJECT = Fault(name="errors_object", executes=True, alters=Alteration.ERRORS_OBJECT)
COUNTS_DIFFER = Fault(name="counts_differ", executes=True, alters=Alteration.COUNTS_DIFFER)
NOT_A_NUMBER = Fault(name="not_a_number", executes=True, alters=Alteration.NOT_A_NUMBER)
INFINITE_NUMBER = Fault(name="infinite_number", executes=True, alters=Alteration.INFINITE_NUMBER)
REPEATED_NAMES = Fault(name="repeated_names", executes=True, alters=Alteration.REPEATED_NAMES)
TWO_CONTENTS = Fault(name="two_contents", executes=True, alters=Alteration.TWO_CONTENTS)

CONTRADICTIONS = (
    ERRORS_LIST,
    ERRORS_TEXT,
    ERRORS_OBJECT,
    COUNTS_DIFFER,
    NOT_A_NUMBER,
    INFINITE_NUMBER,
    REPEATED_NAMES,
    TWO_CONTENTS,
)
"""Listings that hide what is there behind a contradiction."""


def rate_limited(*, reset: str | None = "7", html: bool = False) -> Fault:
    """A 429, which deletes nothing; `reset` is sent as it is, None leaves the header out."""
    limits = [
        ("X-RateLimit-Limit", "100"),
        ("X-RateLimit-Period", "60"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Name", "org_connections"),
    ]
    if reset is not None:
        limits.append(("X-RateLimit-Reset", reset))
    page = HTML_PAGE.format(title="429 Too Many Requests")
    return Fault(
        name="answers_429",
        executes=False,
        status=429,
        errors=() if html else ("Too many requests",),
        body=page if html else None,
        content_type=HTML if html else JSON,
        headers=tuple(limits),
    )


def redirected(*, status: int, location: str = "/api/v2/moved") -> Fault:
    """A 3xx to another place, which deletes nothing."""
    return Fault(
        name=f"redirects_{status}",
        executes=False,
        status=status,
        body="",
        content_type="text/plain",
        headers=(("Location", location),),
    )


def delayed(*, seconds: float) -> Fault:
    """The proper effect at once, the proper answer after a while."""
    return Fault(name="delayed", executes=True, delay=seconds)


def executed_late(*, seconds: float) -> Fault:
    """No answer; the effect comes when the client has long given up."""
    return Fault(name="executed_late", executes=True, wire=Wire.SILENCE, late=seconds)


_FIXED = [value for value in list(globals().values()) if isinstance(value, Fault)]
_MADE = [
    rate_limited(),
    replace(rate_limited(reset="7, 7"), name="answers_429_doubled"),
    replace(rate_limited(reset=None), name="answers_429_without_reset"),
    replace(rate_limited(reset="99999999999999999999; rm"), name="answers_429_hostile"),
    replace(rate_limited(html=True), name="answers_429_html"),
    *(redirected(status=status) for status in (301, 302, 303, 307, 308)),
    delayed(seconds=1.0),
    executed_late(seconds=40.0),
]
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in [*_FIXED, *_MADE]}
"""Every fault by its name, as the control endpoint and the demo know it."""


def fault_by_name(*, name: str, changes: Mapping[str, Any] | None = None) -> Fault:
    """Give a fault of the catalogue with some of its numbers replaced.

    `changes` may hold delay, late and interval (seconds) and location (of a redirect). Raises
    KeyError for a name and ValueError for a change that does not exist.
    """
    fault = FAULTS[name]
    wanted = dict(changes or {})
    if "location" in wanted:
        fault = replace(fault, headers=(("Location", str(wanted.pop("location"))),))
    fault = replace(
        fault,
        delay=float(wanted.pop("delay", fault.delay)),
        late=float(wanted.pop("late", fault.late)),
        interval=float(wanted.pop("interval", fault.interval)),
    )
    if wanted:
        raise ValueError(f"a fault has no {', '.join(sorted(wanted))}")
    return fault
