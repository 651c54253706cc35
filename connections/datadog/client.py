"""The Datadog client: list, delete, and find out whose keys these are.

Facts (paths, parameters, forms of answers) are from Datadog's API reference of "Org
Connections" and "Authentication", and from the recordings its official clients ship.
"""

import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from connections import __version__
from connections.core.causes import Cause
from connections.core.secret import Secret
from connections.datadog.errors import DatadogError
from connections.datadog.listing import ListingReader
from connections.datadog.payloads import (
    ConnectionList,
    KeyOwner,
    PayloadError,
    canonical_connection_id,
    parse_identity,
)
from connections.datadog.responses import (
    DeleteResponse,
    read_delete_response,
    read_json,
    reported_errors,
)
from connections.net.http import OutboundRequest, OutboundResponse, send
from connections.net.lanes import POOL, Endpoint

__all__ = ["DatadogClient", "DeleteResponse", "close_connections"]

CONNECT_SECONDS = 5.0
MAX_DELETE_BODY = 64 * 1024
# 1,000 connections are about 1 MB.
MAX_READ_BODY = 16 * 1024 * 1024
USER_AGENT = f"org-admin/{__version__}"

_KEY = re.compile(r"[!-~]+")
_LOOPBACK_HOSTS = {"127.0.0.1", "::1"}


class DatadogClient:
    """Talks to one Datadog site with one pair of keys.

    Cheap to make; connections are shared by all clients of this process that have the same
    `base_url`, `proxy_url` and `ca_bundle`. The environment's proxies, .netrc and CA bundle
    are ignored. `connect_seconds` bounds name resolution, TCP, tunnel and TLS together.
    Raises ValueError, without repeating the value, for a key that no header can carry, a
    `base_url` that is not https (http only for 127.0.0.1 and [::1]) and an unusable proxy.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: Secret,
        application_key: Secret,
        proxy_url: str | None = None,
        ca_bundle: str | None = None,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        _check_base_url(base_url)
        _check_proxy_url(proxy_url)
        _check_key(api_key, label="API key")
        _check_key(application_key, label="application key")
        self._route = Endpoint(
            base_url=base_url.rstrip("/"), proxy_url=proxy_url, ca_bundle=ca_bundle
        )
        self._api_key = api_key
        self._application_key = application_key
        self._connect_seconds = connect_seconds

    def __repr__(self) -> str:
        return f"DatadogClient(base_url={self._route.base_url!r})"

    def delete_org_connection(
        self, *, connection_id: str, deadline_seconds: float = 30
    ) -> DeleteResponse:
        """DELETE /api/v2/org_connections/{id}, sent at most once; never raises for the network.

        `deadline_seconds` counts from the start of connecting and bounds everything. Raises
        ValueError, with nothing sent, for an id that is not canonical (see
        `canonical_connection_id`).
        """
        if canonical_connection_id(connection_id) != connection_id:
            raise ValueError("The org connection id is not in its canonical, lower case form.")
        reply = self._send(
            method="DELETE",
            path=f"/api/v2/org_connections/{connection_id}",
            deadline_seconds=deadline_seconds,
            max_body=MAX_DELETE_BODY,
        )
        return read_delete_response(reply)

    def list_org_connections(
        self, *, deadline_seconds: float = 10, page_size: int = 1000
    ) -> ConnectionList:
        """GET /api/v2/org_connections, all pages within one deadline.

        Raises DatadogError when the first page does not come. A failure of a later page keeps
        what came before and makes the listing incomplete.
        """
        deadline = time.monotonic() + deadline_seconds
        reader = ListingReader()
        while (offset := reader.next_offset) is not None:
            reply = self._send(
                path=f"/api/v2/org_connections?limit={page_size}&offset={offset}",
                deadline_seconds=max(deadline - time.monotonic(), 0.001),
            )
            reader.read(read_json(reply))
        return reader.result()

    def whoami(self, *, deadline_seconds: float = 10) -> KeyOwner:
        """GET /api/v2/current_user: the org, the person and the roles' permissions.

        It needs no permission itself. Raises DatadogError.
        """
        document = self._get(path="/api/v2/current_user", deadline_seconds=deadline_seconds)
        identity = _identity_or_none(document)
        if identity is None:
            raise DatadogError(cause=Cause.WRONG_TYPE, http_status=200)
        return identity

    def validate_api_key(self, *, deadline_seconds: float = 10) -> None:
        """GET /api/v1/validate with the API key alone. Raises DatadogError if it is not valid."""
        document = self._get(
            path="/api/v1/validate",
            deadline_seconds=deadline_seconds,
            keys={"DD-API-KEY": self._api_key},
        )
        _require(document, name="valid", value=True)

    def validate_key_pair(self, *, deadline_seconds: float = 10) -> None:
        """GET /api/v2/validate_keys with both keys. Raises DatadogError if they are not valid."""
        document = self._get(path="/api/v2/validate_keys", deadline_seconds=deadline_seconds)
        _require(document, name="status", value="ok")

    def _get(
        self, *, path: str, deadline_seconds: float, keys: Mapping[str, Secret] | None = None
    ) -> object:
        reply = self._send(path=path, deadline_seconds=deadline_seconds, keys=keys)
        document = read_json(reply)
        error = document if isinstance(document, DatadogError) else reported_errors(document)
        if error is not None:
            raise error
        return document

    def _send(
        self,
        *,
        path: str,
        deadline_seconds: float,
        method: str = "GET",
        max_body: int = MAX_READ_BODY,
        keys: Mapping[str, Secret] | None = None,
    ) -> OutboundResponse:
        both = {"DD-API-KEY": self._api_key, "DD-APPLICATION-KEY": self._application_key}
        call = OutboundRequest(
            method=method,
            url=self._route.base_url + path,
            keys=both if keys is None else keys,
            user_agent=USER_AGENT,
            deadline_seconds=deadline_seconds,
            connect_seconds=self._connect_seconds,
            max_body=max_body,
        )
        return send(route=self._route, call=call)


def close_connections() -> None:
    """End every idle connection of this process; the next request opens a new one."""
    POOL.close_all()


def _identity_or_none(document: object) -> KeyOwner | None:
    try:
        return parse_identity(document)
    except PayloadError:
        return None


def _require(document: object, *, name: str, value: object) -> None:
    """Raise unless the document says exactly that: a 200 of another form proves nothing."""
    if not isinstance(document, dict) or type(document.get(name)) is not type(value):
        raise DatadogError(cause=Cause.WRONG_TYPE, http_status=200)
    if document[name] != value:
        raise DatadogError(cause=Cause.KEY_NOT_VALID, http_status=200)


def _check_key(key: Secret, *, label: str) -> None:
    if not _KEY.fullmatch(key.reveal()):
        raise ValueError(
            f"The {label} must be printable ASCII characters without spaces or line ends."
        )


def _check_base_url(base_url: str) -> None:
    parts = urlsplit(base_url)
    is_safe = parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS
    )
    extras = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if not is_safe or not parts.hostname or extras:
        raise ValueError(
            "A Datadog site's address is https://host; http:// only for 127.0.0.1 and [::1]."
        )


def _check_proxy_url(proxy_url: str | None) -> None:
    if proxy_url is None:
        return
    parts = urlsplit(proxy_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("A proxy's address is http://host:port or https://host:port.")
