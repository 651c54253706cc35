"""The Datadog client, and the reader that combines the pages of a list."""

import re
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from connections import __version__
from connections.core.causes import Cause
from connections.core.datadog_keys import AccessToken, DatadogKeys, KeyPair
from connections.core.secret import Secret
from connections.core.urls import is_secure
from connections.datadog.payloads import (
    ConnectionList,
    KeyOwner,
    ListedOrg,
    OrgConnection,
    Page,
    body_of_create,
    body_of_update,
    canonical_connection_id,
    parse_identity,
    parse_managed_orgs,
    parse_page,
)
from connections.datadog.responses import (
    CREATE,
    DELETE,
    UPDATE,
    DatadogError,
    RateLimit,
    Write,
    WriteResponse,
    parse_rate_limit,
    read_json,
    read_write_response,
    reported_errors,
)
from connections.net.http import (
    DIRECT,
    OutboundRequest,
    OutboundResponse,
    Route,
    check_proxy_url,
    send,
)

MAX_PAGES = 100


class ListingReader:
    """Combines pages into a ConnectionList. `next_offset` is None after the last page."""

    def __init__(self) -> None:
        self.next_offset: int | None = 0
        # None means that the ID was listed with two different contents; neither is kept.
        self._by_id: dict[str, OrgConnection | None] = {}
        self._pages = 0
        self._total: int | None = None
        self._cause: Cause | None = None
        self._http_status: int | None = 200
        self._errors: tuple[str, ...] = ()

    def read(self, document: object) -> None:
        """Add a page: its document, or the DatadogError that came instead.

        Raises that DatadogError if it is the first page.
        """
        if isinstance(document, DatadogError):
            page: Page | DatadogError = document
        else:
            page = parse_page(document) or reported_errors(document) or _wrong_type()
        if isinstance(page, Page):
            self._add(page)
        elif self._pages == 0:
            raise page
        else:
            self._stop_at(page)

    def result(self) -> ConnectionList:
        """The list from all pages."""
        cause = self._cause or self._compare_with_total()
        return ConnectionList(
            org_connections=tuple(filter(None, self._by_id.values())),
            is_complete=cause is None,
            cause=cause,
            http_status=self._http_status,
            errors=self._errors,
        )

    def _add(self, page: Page) -> None:
        self._set_cause(page.cause)
        self._errors = self._errors or page.errors
        if self._pages == 0:
            self._total = page.total
        elif page.total is not None and page.total != self._total:
            self._set_cause(Cause.COUNT_CHANGED)
        count_before = len(self._by_id)
        for org_connection in page.org_connections:
            if self._by_id.setdefault(org_connection.id, org_connection) != org_connection:
                self._by_id[org_connection.id] = None
                self._set_cause(Cause.CONTRADICTORY_ELEMENTS)
        self._pages += 1
        self._advance(page, has_new_ids=len(self._by_id) > count_before)

    def _advance(self, page: Page, *, has_new_ids: bool) -> None:
        """Advance by the number of elements received, because the server can limit the page size.

        Without a total, a page without new elements is the last.
        """
        offset = (self.next_offset or 0) + page.count
        is_last = not has_new_ids if page.total is None else offset >= page.total or not page.count
        if not is_last and self._pages == MAX_PAGES:
            self._set_cause(Cause.TOO_MANY_PAGES)
            is_last = True
        self.next_offset = None if is_last else offset

    def _stop_at(self, error: DatadogError) -> None:
        self.next_offset = None
        self._cause = error.cause
        self._http_status = error.http_status
        self._errors = error.errors

    def _set_cause(self, cause: Cause | None) -> None:
        """Keep only the first cause, because later ones might result from it."""
        self._cause = self._cause or cause

    def _compare_with_total(self) -> Cause | None:
        if self._total is None or len(self._by_id) == self._total:
            return None
        return Cause.TOO_FEW if len(self._by_id) < self._total else Cause.TOO_MANY


def _wrong_type() -> DatadogError:
    return DatadogError(cause=Cause.WRONG_TYPE, http_status=200)


CONNECT_SECONDS = 5.0
MAX_WRITE_BODY = 64 * 1024
# 1,000 connections are about 1 MB.
MAX_READ_BODY = 16 * 1024 * 1024
USER_AGENT = f"org-admin/{__version__}"

_COLLECTION = "/api/v2/org_connections"
_KEY = re.compile(r"[!-~]+")
_LABELS = {
    "api_key": "API key",
    "application_key": "application key",
    "access_token": "access token",
}


class DatadogClient:
    """A client for one Datadog site with one key pair or access token.

    It is cheap to create: clients in the same `http.pool()` share connections. It ignores the
    environment's proxies, .netrc and CA bundle. Threads can share it; if two responses arrive at
    the same time, `rate_limits` can keep either one. `connect_seconds` limits name resolution, TCP,
    proxy tunnel and TLS together. No write begins after `write_by`, in seconds of `boot_clock`.
    Raises ValueError, without repeating the value, for a key that a
    header can't contain, for a `base_url` that is not https (http only for 127.0.0.1 and [::1]) and
    for an unusable proxy.
    """

    def __init__(
        self,
        *,
        base_url: str,
        keys: DatadogKeys,
        route: Route = DIRECT,
        connect_seconds: float = CONNECT_SECONDS,
        write_by: float | None = None,
    ) -> None:
        _check_base_url(base_url)
        check_proxy_url(route.proxy_url)
        for name, key in keys.by_field.items():
            _check_key(key, label=_LABELS[name])
        self._base_url = base_url.rstrip("/")
        self._route = route
        self._keys = keys
        self._connect_seconds = connect_seconds
        self._write_by = write_by
        self._rate_limits: dict[str, RateLimit] = {}

    def __repr__(self) -> str:
        return f"DatadogClient(base_url={self._base_url!r})"

    @property
    def has_access_token(self) -> bool:
        """Whether it authenticates with an access token, which the key validations don't accept."""
        return isinstance(self._keys, AccessToken)

    @property
    def rate_limits(self) -> tuple[RateLimit, ...]:
        """Each rate limit reported so far, with the fewest requests remaining.

        Responses to parallel requests arrive in any order.
        """
        return tuple(self._rate_limits.values())

    def delete_org_connection(
        self, *, connection_id: str, deadline_seconds: float = 30
    ) -> WriteResponse:
        """DELETE /api/v2/org_connections/{id}, sent at most once. Never raises network errors.

        `deadline_seconds` limits the whole request, including connecting. Raises ValueError, with
        nothing sent, for an ID that is not canonical (see `canonical_connection_id`).
        """
        return self._write(
            DELETE, path=_member_path(connection_id), deadline_seconds=deadline_seconds
        )

    def create_org_connection(
        self, *, sink_org_id: str, connection_types: Sequence[str], deadline_seconds: float = 30
    ) -> WriteResponse:
        """POST /api/v2/org_connections: a connection from the keys' org to `sink_org_id`.

        Its creator is the keys' owner. Sent at most once, like a DELETE. Raises ValueError, with
        nothing sent, without an org or types, or for a type that is given twice.
        """
        return self._write(
            CREATE,
            path=_COLLECTION,
            deadline_seconds=deadline_seconds,
            body=body_of_create(sink_org_id=sink_org_id, connection_types=connection_types),
        )

    def update_org_connection(
        self, *, connection_id: str, connection_types: Sequence[str], deadline_seconds: float = 30
    ) -> WriteResponse:
        """PATCH /api/v2/org_connections/{id}, which replaces all its data types and nothing else.

        Works only with keys of the source org. Sent at most once, like a DELETE. Raises ValueError,
        with nothing sent, as the DELETE and the POST do.
        """
        return self._write(
            UPDATE,
            path=_member_path(connection_id),
            deadline_seconds=deadline_seconds,
            body=body_of_update(connection_id=connection_id, connection_types=connection_types),
        )

    def list_org_connections(
        self, *, deadline_seconds: float = 10, page_size: int = 1000
    ) -> ConnectionList:
        """GET /api/v2/org_connections, all pages within one deadline.

        Raises DatadogError when the first page fails. When a later page fails, the earlier pages
        are kept and the list is incomplete.
        """
        deadline = time.monotonic() + deadline_seconds
        reader = ListingReader()
        while (offset := reader.next_offset) is not None:
            response = self._send(
                path=f"{_COLLECTION}?limit={page_size}&offset={offset}",
                deadline_seconds=max(deadline - time.monotonic(), 0.001),
            )
            reader.read(read_json(response))
        return reader.result()

    def whoami(self, *, deadline_seconds: float = 10) -> KeyOwner:
        """GET /api/v2/current_user: the org, the user and the permissions of the user's roles.

        The request itself needs no permission. Raises DatadogError.
        """
        document = self._get(path="/api/v2/current_user", deadline_seconds=deadline_seconds)
        identity = parse_identity(document)
        if identity is None:
            raise _wrong_type()
        return identity

    def list_managed_orgs(self, *, deadline_seconds: float = 10) -> tuple[ListedOrg, ...]:
        """GET /api/v2/org: the keys' own org and the orgs that it manages.

        Only a parent org manages others. Raises DatadogError, with 403 if both permissions
        org_management and org_connections_write are missing.
        """
        document = self._get(path="/api/v2/org", deadline_seconds=deadline_seconds)
        orgs = parse_managed_orgs(document)
        if orgs is None:
            raise _wrong_type()
        return orgs

    def validate_api_key(self, *, deadline_seconds: float = 10) -> None:
        """GET /api/v1/validate with only the API key. Raises DatadogError if it isn't valid.

        Raises TypeError, with nothing sent, for an access token.
        """
        if not isinstance(self._keys, KeyPair):
            raise TypeError("An access token has no API key.")
        document = self._get(
            path="/api/v1/validate",
            deadline_seconds=deadline_seconds,
            keys={"DD-API-KEY": self._keys.api_key},
        )
        _require(document, name="valid", value=True)

    def validate_key_pair(self, *, deadline_seconds: float = 10) -> None:
        """GET /api/v2/validate_keys with both keys. Raises DatadogError if they are not valid."""
        document = self._get(path="/api/v2/validate_keys", deadline_seconds=deadline_seconds)
        _require(document, name="status", value="ok")

    def _get(
        self, *, path: str, deadline_seconds: float, keys: Mapping[str, Secret] | None = None
    ) -> object:
        response = self._send(path=path, deadline_seconds=deadline_seconds, keys=keys)
        document = read_json(response)
        error = document if isinstance(document, DatadogError) else reported_errors(document)
        if error is not None:
            raise error
        return document

    def _write(
        self, write: Write, *, path: str, deadline_seconds: float, body: bytes | None = None
    ) -> WriteResponse:
        response = self._send(
            method=write.method,
            path=path,
            deadline_seconds=deadline_seconds,
            max_body=MAX_WRITE_BODY,
            body=body,
            send_by=self._write_by,
        )
        return read_write_response(response, write=write)

    def _send(
        self,
        *,
        path: str,
        deadline_seconds: float,
        method: str = "GET",
        max_body: int = MAX_READ_BODY,
        keys: Mapping[str, Secret] | None = None,
        body: bytes | None = None,
        send_by: float | None = None,
    ) -> OutboundResponse:
        request = OutboundRequest(
            method=method,
            url=self._base_url + path,
            keys=self._keys.headers if keys is None else keys,
            user_agent=USER_AGENT,
            deadline_seconds=deadline_seconds,
            connect_seconds=self._connect_seconds,
            max_body=max_body,
            route=self._route,
            headers={} if body is None else {"Content-Type": "application/json"},
            body=body,
            send_by=send_by,
        )
        response = send(request=request)
        rate_limit = parse_rate_limit(status=response.status, headers=response.headers)
        if rate_limit:
            known = self._rate_limits.get(rate_limit.name, rate_limit)
            fewest = min(known, rate_limit, key=lambda limit: limit.remaining)
            self._rate_limits[rate_limit.name] = fewest
        return response


def _member_path(connection_id: str) -> str:
    """The path of one connection. Raises ValueError, because another text could be any path."""
    if canonical_connection_id(connection_id) != connection_id:
        raise ValueError("The connection ID is not in its canonical, lowercase form.")
    return f"{_COLLECTION}/{connection_id}"


def _require(document: object, *, name: str, value: object) -> None:
    """Raise unless the document has exactly this value. Any other 200 proves nothing."""
    if not isinstance(document, dict) or type(document.get(name)) is not type(value):
        raise _wrong_type()
    if document[name] != value:
        raise DatadogError(cause=Cause.KEY_NOT_VALID, http_status=200)


def _check_key(key: Secret, *, label: str) -> None:
    if not _KEY.fullmatch(key.reveal()):
        raise ValueError(
            f"The {label} must be printable ASCII characters without spaces or line ends."
        )


def _check_base_url(base_url: str) -> None:
    parts = urlsplit(base_url)
    extras = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if not is_secure(parts) or not parts.hostname or extras:
        raise ValueError(
            "A Datadog site's address is https://host; http:// only for 127.0.0.1 and [::1]."
        )
