"""What a response, or a missing one, proves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connections.core.causes import Cause
from connections.core.time_limits import MAX_RESET_SECONDS
from connections.datadog.payloads import (
    OrgConnection,
    PayloadError,
    bounded_text,
    error_texts,
    find_errors,
    get_reported_errors,
    parse_connection,
    parse_json,
)
from connections.net.http import OutboundResponse


class AttemptResult(StrEnum):
    """The result of one write, as far as its response proves it."""

    # The status was 200, or 201 for a POST, even if the headers or the body are incomplete.
    DELETED = "deleted"
    CREATED = "created"
    CHANGED = "changed"
    # 400, 401 or 403, or 409 for a PATCH: Datadog read the request and refused it.
    REFUSED = "refused"
    # 404 with an `errors` list: Datadog itself, not a proxy, doesn't find the ID. Of a POST, that
    # is the ID of the destination org.
    NOT_FOUND = "not_found"
    # 409 for a POST: a connection from this source to this destination exists.
    ALREADY_EXISTS = "already_exists"
    # 429: nothing was done; try again later.
    RATE_LIMITED = "rate_limited"
    # Proof that no byte of the request left this machine.
    NOT_SENT = "not_sent"
    # Everything else: it might have been done.
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, kw_only=True)
class Write:
    """A kind of request that changes an org connection, and what its statuses mean.

    `results` and `causes` hold what isn't the same for each kind; `result_of_status` and
    `cause_of_status` hold the rest. In `causes`, None is a success.
    """

    method: str
    results: Mapping[int, AttemptResult]
    causes: Mapping[int, Cause | None] = field(default_factory=dict)


DELETE = Write(method="DELETE", results={200: AttemptResult.DELETED})
CREATE = Write(
    method="POST",
    results={
        200: AttemptResult.CREATED,
        201: AttemptResult.CREATED,
        409: AttemptResult.ALREADY_EXISTS,
    },
    causes={201: None, 404: Cause.DESTINATION_NOT_FOUND, 409: Cause.CONFLICT},
)
UPDATE = Write(
    method="PATCH",
    results={200: AttemptResult.CHANGED, 409: AttemptResult.REFUSED},
    causes={409: Cause.CONFLICT},
)


# The results of a request that worked.
SUCCESSES = (AttemptResult.DELETED, AttemptResult.CREATED, AttemptResult.CHANGED)


class DatadogError(Exception):
    """A GET request that failed or returned unusable data.

    It holds only plain values, and its `__cause__` and `__context__` are None, because an exception
    of the HTTP library would refer to the request and its keys. `errors` are Datadog's messages,
    limited in number and length. `retry_after_seconds` is set only for a 429.
    """

    def __init__(
        self,
        *,
        cause: Cause,
        http_status: int | None = None,
        errors: tuple[str, ...] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(f"{cause} (HTTP {http_status})" if http_status else str(cause))
        self.cause = cause
        self.http_status = http_status
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds


_CAUSE_OF_STATUS = {
    400: Cause.BAD_REQUEST,
    401: Cause.UNAUTHORIZED,
    403: Cause.FORBIDDEN,
    404: Cause.NOT_FOUND,
    408: Cause.REQUEST_TIMEOUT,
    429: Cause.RATE_LIMITED,
}


def result_of_status(
    *, write: Write, status: int | None, has_errors_list: bool, has_request_left: bool = True
) -> AttemptResult:
    """The result of a write with this response.

    `status` is None if no complete status line arrived; `has_request_left` then decides.
    `has_errors_list` says that the body is a JSON object with an `errors` list, which is the form
    of Datadog's own 404 (recorded: `{"errors":["org connection with id:…"]}`).
    """
    if status is None:
        return AttemptResult.AMBIGUOUS if has_request_left else AttemptResult.NOT_SENT
    if status in {400, 401, 403}:
        return AttemptResult.REFUSED
    if status == 404 and has_errors_list:
        return AttemptResult.NOT_FOUND
    if status == 429:
        return AttemptResult.RATE_LIMITED
    return write.results.get(status, AttemptResult.AMBIGUOUS)


def cause_of_status(
    *, status: int, has_errors_list: bool, write: Write | None = None
) -> Cause | None:
    """The cause for a status; None for a success. `write` is None for a request that only reads."""
    if status == 200:
        return None
    if status == 404 and not has_errors_list:
        return Cause.WRONG_404
    if write is not None and status in write.causes:
        return write.causes[status]
    if 300 <= status < 400:
        return Cause.REDIRECT
    if 500 <= status < 600:
        return Cause.SERVER_ERROR
    return _CAUSE_OF_STATUS.get(status, Cause.UNEXPECTED_STATUS)


_FIRST_INTEGER = re.compile(r"-?[0-9]{1,10}")
# A count or a number of seconds, which can arrive twice ("7, 7").
_HEADER_COUNT = re.compile(r"([0-9]{1,9})(?: *,.*)?")
_WITHOUT_RESET_SECONDS = 60
MAX_LIMIT_NAME = 100
# A limit is low when less than this much of it remains.
_LOW_PERCENT = 10
_KEPT_HEADERS = {"content-type", "date", "x-request-id", "x-datadog-trace-id", "dd-request-id"}
_MAX_HEADERS = 30


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """One rate limit of the keys' org, as a response reported it.

    `name` is Datadog's, or "" if it gave none. `limit` and `remaining` count requests.
    `reset_seconds` is the time until `remaining` equals `limit` again: 0 to 3,600.
    """

    name: str
    limit: int
    remaining: int
    reset_seconds: int

    @property
    def is_low(self) -> bool:
        """Whether less than a tenth remains. Work that can wait should then wait."""
        return self.remaining * 100 < self.limit * _LOW_PERCENT


@dataclass(frozen=True, kw_only=True)
class WriteResponse:
    """What is known after a request that changes a connection.

    `cause` explains `verdict` (None after a success). `headers` are the allow-listed ones, with
    names in lower case. `body` is at most 64 KiB, decompressed. `body_sha256` is the hash of those
    bytes, or "" if there are none. `errors` are Datadog's messages. `retry_after_seconds` is set
    only for a 429: 1 to 300, or 60 if Datadog gives no value.
    """

    verdict: AttemptResult
    cause: Cause | None
    http_status: int | None
    headers: dict[str, str]
    body: bytes
    body_sha256: str
    body_is_complete: bool
    errors: tuple[str, ...]
    retry_after_seconds: int | None
    duration_ms: int

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit that it reported, or None."""
        return parse_rate_limit(status=self.http_status, headers=self.headers)

    def find_connection(
        self, *, source_org_id: str, sink_org_id: str, connection_id: str | None = None
    ) -> OrgConnection | None:
        """The connection that a successful POST or PATCH describes. A PATCH gives no names.

        None if the body is incomplete or malformed, reports errors, or describes a connection of
        other orgs or, if `connection_id` is given, with another ID. That doesn't change `verdict`:
        only a list then shows the connection.
        """
        if self.verdict not in {AttemptResult.CREATED, AttemptResult.CHANGED}:
            return None
        found = parse_connection(self.body) if self.body_is_complete else None
        if found is None or connection_id not in {None, found.id}:
            return None
        is_same_pair = (found.source_org.id, found.sink_org.id) == (source_org_id, sink_org_id)
        return found if is_same_pair else None


def read_write_response(response: OutboundResponse, *, write: Write) -> WriteResponse:
    """The result of a write, with the parts of the response that are stored."""
    errors = find_errors(response.body)
    verdict = result_of_status(
        write=write,
        status=response.status,
        has_errors_list=errors is not None,
        has_request_left=response.has_request_left,
    )
    return WriteResponse(
        verdict=verdict,
        cause=cause_of(response, errors=errors, write=write),
        http_status=response.status,
        headers=_kept_headers(response.headers),
        body=response.body,
        body_sha256=response.body_sha256,
        body_is_complete=response.is_body_complete,
        errors=error_texts(errors),
        retry_after_seconds=get_retry_after(response),
        duration_ms=response.duration_ms,
    )


def read_json(response: OutboundResponse) -> object:
    """The document of a 200, or the DatadogError to raise.

    Returns the error so that the caller can raise it outside any exception handler, without
    context.
    """
    errors = find_errors(response.body) if response.status != 200 else None
    cause = cause_of(response, errors=errors)
    if cause is None and not response.is_body_complete:
        cause = response.cause
    if cause is not None:
        return DatadogError(
            cause=cause,
            http_status=response.status,
            errors=error_texts(errors),
            retry_after_seconds=get_retry_after(response),
        )
    try:
        return parse_json(response.body)
    except PayloadError:
        return DatadogError(cause=Cause.MALFORMED_JSON, http_status=response.status)


def reported_errors(document: object) -> DatadogError | None:
    """The error to raise for a 200 that reports `errors`. None if it reports none."""
    errors = get_reported_errors(document)
    if not errors:
        return None
    return DatadogError(cause=Cause.ERRORS_IN_RESPONSE, http_status=200, errors=error_texts(errors))


def cause_of(
    response: OutboundResponse, *, errors: list[Any] | None, write: Write | None = None
) -> Cause | None:
    """Why a response is not a success. None if it is one."""
    if response.status is None:
        return response.cause
    return cause_of_status(status=response.status, has_errors_list=errors is not None, write=write)


def get_retry_after(response: OutboundResponse) -> int | None:
    """Seconds to wait after a 429: X-RateLimit-Reset, which can arrive twice ("7, 7")."""
    if response.status != 429:
        return None
    match = _FIRST_INTEGER.search(response.headers.get("x-ratelimit-reset", ""))
    return min(max(int(match.group()), 1), 300) if match else _WITHOUT_RESET_SECONDS


def parse_rate_limit(*, status: int | None, headers: Mapping[str, str]) -> RateLimit | None:
    """The rate limit of a response. None if no header says how much remains.

    A 429 means that nothing remains, with or without headers. Header names are in lower case.
    """
    limit, remaining, reset = (
        _header_count(headers.get(f"x-ratelimit-{name}", ""))
        for name in ("limit", "remaining", "reset")
    )
    if status == 429:
        limit, remaining = limit or 1, 0
        reset = _WITHOUT_RESET_SECONDS if reset is None else max(reset, 1)
    if status is None or not limit or remaining is None or reset is None:
        return None
    return RateLimit(
        name=_printable(headers.get("x-ratelimit-name", ""))[:MAX_LIMIT_NAME],
        limit=limit,
        remaining=remaining,
        reset_seconds=min(reset, MAX_RESET_SECONDS),
    )


def _header_count(value: str) -> int | None:
    match = _HEADER_COUNT.fullmatch(value.strip())
    return int(match[1]) if match else None


def _printable(value: str) -> str:
    return "".join(
        character if character.isprintable() else "\ufffd" for character in bounded_text(value)
    )


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: _printable(value)
        for name, value in headers.items()
        if name in _KEPT_HEADERS or name.startswith("x-ratelimit-")
    }
    return dict(sorted(kept.items())[:_MAX_HEADERS])
