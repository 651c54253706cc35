"""Which addresses are good enough to be asked, or to be handed to a browser."""

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
from connections.net.connection import Endpoint
from connections.net.http import OutboundRequest, OutboundResponse, send
from connections.people.oidc.tokens import ProviderError, Reason

# Characters. It goes into a Location header, which servers and browsers bound.
LONGEST_ADDRESS = 2000
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
# urlsplit drops line ends and tabs in silence, and a browser reads a backslash as a slash.
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")


def is_usable_issuer(issuer: str) -> bool:
    """Whether it is https, or http on this machine, with a valid host and port and no query."""
    parts = _split(issuer)
    return parts is not None and not parts.query


def is_usable_endpoint(address: object, *, issuer: str) -> bool:
    """Whether it is as safe as the issuer: http only where the issuer itself is http here."""
    parts = _split(address)
    return parts is not None and (parts.scheme == "https" or urlsplit(issuer).scheme == "http")


def origin_of(address: str) -> str:
    """Scheme, host and port of a usable address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _split(address: object) -> SplitResult | None:
    """The parts of a safe address that is valid as a whole; None for anything else."""
    if not isinstance(address, str) or len(address) > LONGEST_ADDRESS:
        return None
    if not _ALLOWED.fullmatch(address):
        return None
    try:
        parts = urlsplit(address)
        # Reading the port is what checks it.
        is_valid = _is_host(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    is_plain = "@" not in parts.netloc and "#" not in address
    return parts if is_safe and is_valid and is_plain else None


def _is_host(host: str | None) -> bool:
    # urlsplit itself checks what stands in brackets, and only there can a host hold a colon.
    return host is not None and (":" in host or _HOST_NAME.fullmatch(host) is not None)


DEADLINE_SECONDS = 30.0
CONNECT_SECONDS = 5.0
MAX_BODY = 512 * 1024
USER_AGENT = "OrgAdmin-SignIn/1"
# Each waiting sign-in holds one of its process's threads, and these are what must not run out.
# Other processes have threads of their own, so a limit for each process is enough.
MAX_WAITING = 2
_slots = BoundedSemaphore(MAX_WAITING)


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Where people sign in, and who we are there. `ca_bundle`: a path, or "" for the built in."""

    issuer: str
    client_id: str
    client_secret: Secret
    ca_bundle: str = ""
    deadline_seconds: float = DEADLINE_SECONDS


class ProviderExchange:
    """The requests of one sign-in. Made by `open_exchange`, from which its deadline runs."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._deadline = time.monotonic() + provider.deadline_seconds

    def get(self, url: str) -> dict[str, Any]:
        """The JSON object at the address. Raises ProviderError."""
        return self._ask("GET", url, keys={}, headers={}, body=None)

    def post(
        self, url: str, *, form: Mapping[str, str], keys: Mapping[str, Secret]
    ) -> dict[str, Any]:
        """The JSON object that answers a form; `keys` are headers. Raises ProviderError."""
        return self._ask(
            "POST",
            url,
            keys=keys,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )

    def _ask(
        self,
        method: str,
        url: str,
        *,
        keys: Mapping[str, Secret],
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> dict[str, Any]:
        # Once it is used up, the transport sends nothing.
        remaining = self._deadline - time.monotonic()
        reply = send(
            endpoint=Endpoint(
                base_url=origin_of(url),
                proxy_url=None,
                ca_bundle=self.provider.ca_bundle or None,
            ),
            request=OutboundRequest(
                method=method,
                url=url,
                keys=keys,
                headers=headers,
                body=body,
                user_agent=USER_AGENT,
                deadline_seconds=remaining,
                connect_seconds=CONNECT_SECONDS,
                max_body=MAX_BODY,
            ),
        )
        return _read(reply, url=url)


@contextmanager
def open_exchange(provider: Provider) -> Iterator[ProviderExchange]:
    """Take one of the places at the provider. Raises ProviderError when all are taken."""
    if not _slots.acquire(blocking=False):
        raise ProviderError(Reason.BUSY, f"{MAX_WAITING} sign-ins wait for the provider already.")
    try:
        yield ProviderExchange(provider)
    finally:
        _slots.release()


def _read(reply: OutboundResponse, *, url: str) -> dict[str, Any]:
    # 400 is how a token endpoint says that a code is spent or not ours.
    if reply.status == 400:
        raise ProviderError(Reason.REFUSED, f"{url} refused (400).")
    if reply.status != 200 or not reply.is_body_complete:
        why = str(reply.cause or f"status {reply.status}").replace("_", " ")
        raise ProviderError(Reason.UNREACHABLE, f"{url} gave no usable response: {why}.")
    try:
        document = parse_json(reply.body)
    except PayloadError as error:
        raise ProviderError(Reason.UNREACHABLE, f"{url}: {error}") from None
    if not isinstance(document, dict):
        raise ProviderError(Reason.UNREACHABLE, f"{url} gave no JSON object.")
    return document
