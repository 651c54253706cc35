"""Content types that can't be read: refused with a page before anything tries to."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import parse_header_parameters

_UNREADABLE = "unreadable"


class Request(WSGIRequest):
    """A request that can be made whatever its Content-Type says.

    Django raises for some while it makes the request, outside of all that would answer with a
    page: for a header that it can't parse, or whose charset doesn't decode the query.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(
                meta.get("CONTENT_TYPE", "")
            )
        except ValueError:
            self.content_type, self.content_params = "", {"charset": _UNREADABLE}
        # The encoding stays unset, which is UTF-8; CharsetMiddleware refuses any other.


class CharsetMiddleware:
    """Answers 400 where the Content-Type names a charset other than UTF-8.

    No browser sends one. Python knows encodings that are none of text (base64), or that raise
    although they are told to replace (idna).
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.lower() != "utf-8":
            raise BadRequest("The charset of a request must be UTF-8.")
        return self.get_response(request)
