"""Makes each test fail in which a page writes to the database during a GET.

tests/settings.py puts the middleware behind the product's own, so it covers every address that a
test opens. tests/web/test_access.py opens all of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from connections.models import AuditEvent, AuditHead, Notification, PersonalValue, PersonSession
from connections.web.framework.routing import ALLAUTH

# Pages that write during a GET: a bundle stores its checkpoint, the identity provider answers with
# a GET, and django-allauth keeps the progress of its pages in tables.
WRITING = {
    *ALLAUTH,
    *("access-review-export", "provider-callback"),
    *("mfa_activate_totp", "mfa_deactivate_totp", "mfa_generate_recovery_codes"),
    *("mfa_add_webauthn", "mfa_remove_webauthn"),
}
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


class WriteInReadError(Exception):
    """A page wrote to the database during a GET, which is a bug."""


class ReadOnlyMiddleware:
    """Raises WriteInReadError when a page writes during a GET, or while its body is streamed.

    Sessions, the cache and audit events (of an export or a refusal) can be written.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The response of the page."""
        if request.method == "POST":
            return self.get_response(request)

        def refuse(
            execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
        ) -> Any:
            match = request.resolver_match
            if not _is_allowed(sql) and (match is None or match.view_name not in WRITING):
                raise WriteInReadError(f"A page must not write during a GET: {sql.strip()[:60]}…")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(refuse):
            response = self.get_response(request)
        if isinstance(response, StreamingHttpResponse):
            chunks: Iterable[bytes] = response.streaming_content  # type: ignore[assignment]
            response.streaming_content = _guarded(chunks, refuse)
        return response


def _is_allowed(sql: str) -> bool:
    if _READS.match(sql):
        return True
    if _WITH.match(sql):
        return not _WRITES_INSIDE.search(sql)
    table = _TABLE.match(sql)
    models = (PersonSession, AuditEvent, AuditHead, PersonalValue, Notification)
    return table is not None and table[1] in {
        *(model._meta.db_table for model in models),
        settings.CACHES["default"]["LOCATION"],
    }


def _guarded(chunks: Iterable[bytes], refuse: Any) -> Iterator[bytes]:
    # One chunk at a time, because between two chunks the thread might serve something else. The
    # response closes the inner iterator itself.
    iterator = iter(chunks)
    while True:
        with connection.execute_wrapper(refuse):
            chunk = next(iterator, None)
        if chunk is None:
            return
        yield chunk
