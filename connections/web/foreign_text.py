"""Characters that change how the text around them is read are shown as what they are."""

import re
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# The controls of the Unicode Bidirectional Algorithm (UAX #9 § 2), in UTF-8: U+061C, U+200E/F,
# U+202A–E, U+2066–9. A name that holds one could make another name seem to stand beside it.
_TURNING = re.compile(rb"\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")


class BidiControlMiddleware:
    """Writes the characters that turn text round as [U+202E] in every page.

    Names and error texts come from Datadog and from people; a page shows them within its own
    sentences. What is stored and exported stays as it came.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not response.streaming and response.get("Content-Type", "").startswith("text/html"):
            content = response.content  # type: ignore[attr-defined]
            if _TURNING.search(content):
                response.content = _TURNING.sub(_named, content)  # type: ignore[attr-defined]
        return response


def _named(match: re.Match[bytes]) -> bytes:
    return f"[U+{ord(match[0].decode()):04X}]".encode()
