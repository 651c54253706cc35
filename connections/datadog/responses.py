"""Replies, read: a DELETE's into its one row, a GET's into a document or the error to raise."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connections.core.causes import Cause
from connections.datadog.errors import (
    AttemptResult,
    DatadogError,
    cause_of_status,
    result_of_status,
)
from connections.datadog.payloads import (
    PayloadError,
    bounded_text,
    error_texts,
    errors_of,
    find_errors,
    parse_json,
)
from connections.net.http import OutboundResponse

_FIRST_INTEGER = re.compile(r"-?[0-9]{1,10}")
_KEPT_HEADERS = {"content-type", "date", "x-request-id", "x-datadog-trace-id", "dd-request-id"}
_MAX_HEADERS = 30


@dataclass(frozen=True, kw_only=True)
class DeleteResponse:
    """What is known of a DELETE.

    `verdict` is exactly one row; `cause` says why (None when deleted). `headers` are the
    allow-listed ones, names in lower case. `body` is at most 64 KiB, decompressed;
    `body_sha256` is of those bytes, "" when there are none. `errors` are Datadog's own words.
    `retry_after_seconds` is set for a 429 only: 1 to 300, 60 where Datadog names none.
    """

    verdict: AttemptResult
    cause: Cause | None
    http_status: int | None
    headers: dict[str, str]
    body: bytes
    body_sha256: str
    body_complete: bool
    errors: tuple[str, ...]
    retry_after_seconds: int | None
    duration_ms: int


def read_delete_response(reply: OutboundResponse) -> DeleteResponse:
    """The one row this reply to a DELETE belongs to, with all that is worth keeping."""
    errors = find_errors(reply.body)
    verdict = result_of_status(
        status=reply.status,
        has_errors_list=errors is not None,
        has_request_left=reply.has_request_left,
    )
    return DeleteResponse(
        verdict=verdict,
        cause=cause_of(reply, errors=errors),
        http_status=reply.status,
        headers=_kept_headers(reply.headers),
        body=reply.body,
        body_sha256=reply.body_sha256,
        body_complete=reply.is_body_complete,
        errors=error_texts(errors),
        retry_after_seconds=retry_after(reply),
        duration_ms=reply.duration_ms,
    )


def read_json(reply: OutboundResponse) -> object:
    """The document of a 200, or the DatadogError to raise: values, so that the error is not
    raised while another one is being handled."""
    errors = find_errors(reply.body) if reply.status != 200 else None
    cause = cause_of(reply, errors=errors)
    if cause is None and not reply.is_body_complete:
        cause = reply.cause
    if cause is not None:
        return DatadogError(
            cause=cause,
            http_status=reply.status,
            errors=error_texts(errors),
            retry_after_seconds=retry_after(reply),
        )
    try:
        return parse_json(reply.body)
    except PayloadError:
        return DatadogError(cause=Cause.MALFORMED_JSON, http_status=reply.status)


def reported_errors(document: object) -> DatadogError | None:
    """The error to raise for a 200 that reports `errors`: it proves nothing. None: it has none."""
    errors = errors_of(document)
    if not errors:
        return None
    return DatadogError(cause=Cause.ERRORS_IN_RESPONSE, http_status=200, errors=error_texts(errors))


def cause_of(reply: OutboundResponse, *, errors: list[Any] | None) -> Cause | None:
    """Why a reply is not the 200 that was hoped for; None when it is."""
    if reply.status is None:
        return reply.cause
    return cause_of_status(status=reply.status, has_errors_list=errors is not None)


def retry_after(reply: OutboundResponse) -> int | None:
    """Seconds to wait after a 429: X-RateLimit-Reset, which can arrive doubled ("7, 7")."""
    if reply.status != 429:
        return None
    match = _FIRST_INTEGER.search(reply.headers.get("x-ratelimit-reset", ""))
    return min(max(int(match.group()), 1), 300) if match else 60


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: "".join(each if each.isprintable() else "\ufffd" for each in bounded_text(value))
        for name, value in headers.items()
        if name in _KEPT_HEADERS or name.startswith("x-ratelimit-")
    }
    return dict(sorted(kept.items())[:_MAX_HEADERS])
