"""HTTP requests to the identity provider, and which of its URLs are safe to use."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from connections.core.secret import Secret
from connections.datadog.payloads import PayloadError, parse_json
from connections.net.http import DIRECT, OutboundRequest, OutboundResponse, Route, pool, send
from connections.people.oidc.identity import Failure, ProviderError

# In characters. URLs go into a Location header, which servers and browsers limit.
MAX_URL_LENGTH = 2000
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
# urlsplit silently drops line ends and tabs, and browsers treat a backslash as a slash.
_ALLOWED_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")


def is_usable_issuer(issuer: str) -> bool:
    """Whether it is https, or http on this machine, with a valid host and port and no query."""
    parts = _split_url(issuer)
    return parts is not None and not parts.query


def is_usable_endpoint(url: object, *, issuer: str) -> bool:
    """Whether it is as safe as the issuer: http only if the issuer is http on this machine."""
    parts = _split_url(url)
    return parts is not None and (parts.scheme == "https" or urlsplit(issuer).scheme == "http")


def _split_url(url: object) -> SplitResult | None:
    """The parts of a safe and valid URL. None for anything else."""
    if not isinstance(url, str) or len(url) > MAX_URL_LENGTH:
        return None
    if not _ALLOWED_CHARACTERS.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        # Reading the port validates it.
        is_valid = _is_valid_host(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    is_plain = "@" not in parts.netloc and "#" not in url
    return parts if is_safe and is_valid and is_plain else None


def _is_valid_host(host: str | None) -> bool:
    # Only a bracketed host can contain a colon, and urlsplit validates those.
    return host is not None and (":" in host or _HOST_NAME.fullmatch(host) is not None)


DEADLINE_SECONDS = 30.0
CONNECT_SECONDS = 5.0
MAX_BODY = 512 * 1024
USER_AGENT = "OrgAdmin-SignIn/1"
# Each waiting sign-in blocks one of this process's threads, and some must stay free. Other
# processes have their own threads, so a limit per process is enough.
MAX_CONCURRENT = 2
_slots = BoundedSemaphore(MAX_CONCURRENT)


@dataclass(frozen=True, kw_only=True)
class IdentityProvider:
    """The identity provider, and Org Admin's client there.

    `scopes` are separated by spaces. `roles_claim` is "" if roles aren't mapped. `mfa_values` are
    values of `amr` or `acr` that prove MFA there.
    """

    issuer: str
    client_id: str
    client_secret: Secret
    route: Route = DIRECT
    scopes: str = "openid"
    roles_claim: str = ""
    creates_people: bool = False
    mfa_values: tuple[str, ...] = ()
    deadline_seconds: float = DEADLINE_SECONDS


class ProviderExchange:
    """The requests of one sign-in, all within one deadline that starts when it is created."""

    def __init__(self, provider: IdentityProvider) -> None:
        self.provider = provider
        self._deadline = time.monotonic() + provider.deadline_seconds

    def fetch(
        self,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        authorization: Secret | None = None,
    ) -> dict[str, Any]:
        """GET a JSON object, or POST `form` for one. Raises ProviderError."""
        # If no time is left, `send` sends nothing.
        remaining = self._deadline - time.monotonic()
        response = send(
            request=OutboundRequest(
                method="GET" if form is None else "POST",
                url=url,
                keys={} if authorization is None else {"Authorization": authorization},
                headers={}
                if form is None
                else {"Content-Type": "application/x-www-form-urlencoded"},
                body=None if form is None else urlencode(form).encode(),
                user_agent=USER_AGENT,
                deadline_seconds=remaining,
                connect_seconds=CONNECT_SECONDS,
                max_body=MAX_BODY,
                route=self.provider.route,
            ),
        )
        return _parse_response(response, url=url)


@contextmanager
def open_exchange(provider: IdentityProvider) -> Iterator[ProviderExchange]:
    """An exchange in one of the free slots. Raises ProviderError if no slot is free."""
    if not _slots.acquire(blocking=False):
        raise ProviderError(
            Failure.BUSY, f"{MAX_CONCURRENT} sign-ins are already waiting for the provider."
        )
    try:
        with pool():
            yield ProviderExchange(provider)
    finally:
        _slots.release()


def _parse_response(response: OutboundResponse, *, url: str) -> dict[str, Any]:
    # A token endpoint returns 400 for a code that was already used or belongs to another client.
    if response.status == 400:
        raise ProviderError(Failure.REFUSED, f"{url} returned 400.")
    if response.status != 200 or not response.is_body_complete:
        why = str(response.cause or f"status {response.status}").replace("_", " ")
        raise ProviderError(Failure.UNREACHABLE, f"{url} gave no usable response: {why}.")
    try:
        document = parse_json(response.body)
    except PayloadError as error:
        raise ProviderError(Failure.UNREACHABLE, f"{url}: {error}") from None
    if not isinstance(document, dict):
        raise ProviderError(Failure.UNREACHABLE, f"{url} returned no JSON object.")
    return document
