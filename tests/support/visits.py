"""An HTTP client with cookies that can submit forms with their CSRF token."""

import http.client
import re
from contextlib import closing
from http.cookies import SimpleCookie
from urllib.parse import urlencode


class Visitor:
    """A client of a service on a port of 127.0.0.1. Doesn't follow redirects."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookies: dict[str, str] = {}

    def get(self, path: str) -> tuple[int, str]:
        """The status and text of a page."""
        return self._request("GET", path)

    def post(self, path: str, *, form_on: str = "", **fields: str) -> tuple[int, str]:
        """Submit these fields with the token of the form on `form_on`, by default on `path`.

        Returns status and text.
        """
        _, page = self.get(form_on or path)
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert found, page
        return self._request("POST", path, urlencode(fields | {"csrfmiddlewaretoken": found[1]}))

    def _request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{name}={text}" for name, text in self._cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        for line in response.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(line).items():
                self._cookies[name] = morsel.value
        return response.status, text
