"""Prevents a view that only reads from writing to the database."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from connections.audit import events
from connections.models import PersonSession


class WriteInReadError(Exception):
    """A view tried to write to the database during a GET, which is a bug."""


def respond_without_writing(respond: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """The view's response. Raises WriteInReadError if the view, or its stream, writes.

    Sessions, the cache and audit events (of an export or a refusal) can still be written.
    """
    with connection.execute_wrapper(_refuse_writes):
        response = respond()
    if isinstance(response, StreamingHttpResponse):
        # The body is generated while it is sent, long after the view has returned.
        chunks: Iterable[bytes] = response.streaming_content  # type: ignore[assignment]
        response.streaming_content = _guard_chunks(chunks)
    return response


# Any other statement writes, or must be reviewed before it is added here. PostgreSQL puts the parts
# of a UNION in parentheses.
_READS = re.compile(
    r"\s*(\(\s*SELECT|SELECT|EXPLAIN|SHOW|SET|PRAGMA|BEGIN|START|SAVEPOINT|RELEASE|ROLLBACK|COMMIT"
    r"|DECLARE|FETCH|CLOSE)\b",
    re.IGNORECASE,
)
_WITH = re.compile(r"\s*WITH\b", re.IGNORECASE)
_WRITES_INSIDE = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|REPLACE)\b", re.IGNORECASE)
_TABLE = re.compile(
    r"\s*(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE|DELETE\s+FROM)\s+\"?(\w+)",
    re.IGNORECASE,
)


def _refuse_writes(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
) -> Any:
    if not _is_allowed_query(sql):
        raise WriteInReadError(
            f"A view must not write during a GET: {sql.lstrip()[:60]}… Make it a POST."
        )
    return execute(sql, params, many, context)


def _is_allowed_query(sql: str) -> bool:
    if _READS.match(sql) or events.is_appending():
        return True
    if _WITH.match(sql):
        return not _WRITES_INSIDE.search(sql)
    table = _TABLE.match(sql)
    return table is not None and table[1] in {
        PersonSession._meta.db_table,
        settings.CACHES["default"]["LOCATION"],
    }


def _guard_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # Guards one chunk at a time, because between two chunks the thread might serve something else.
    # The response closes the inner iterator itself.
    iterator = iter(chunks)
    while True:
        with connection.execute_wrapper(_refuse_writes):
            chunk = next(iterator, None)
        if chunk is None:
            return
        yield chunk
