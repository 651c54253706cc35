"""The authorization code flow with PKCE (RFC 7636), as OpenID Connect Core 1.0 describes it.

Only `openid` is asked for: no e-mail, no name. The access token that comes along is not kept.
"""

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, quote_plus, urlencode, urlsplit

import requests

from connections.oidc import tokens
from connections.oidc.errors import ProviderError, Reason
from connections.oidc.tokens import Expected, Identity
from connections.secret import Secret

# Seconds to connect, between two bytes, and for one answer.
TIMEOUT = (5, 10)
IN_TOTAL = 20
MAX_BODY = 512 * 1024
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Where people sign in, and who we are there. `ca_bundle`: a path, or "" for the built in."""

    issuer: str
    client_id: str
    client_secret: Secret
    ca_bundle: str = ""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A sign-in that was begun, to be kept in the browser's session until the answer comes.

    `is_anew`: the person must sign in there once more, whatever session they have.
    """

    state: str
    nonce: str
    verifier: str
    is_anew: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the provider publishes of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    needs_basic_auth: bool
    sends_issuer: bool


def is_usable_issuer(issuer: str) -> bool:
    """Whether it is an https address, or http on this very machine, without query or fragment."""
    parts = _split(issuer)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return is_safe and bool(parts.hostname) and not (parts.query or parts.fragment)


def begin(*, is_anew: bool, now: datetime) -> Begun:
    """A new sign-in, which nobody can guess or answer for another."""
    return Begun(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
        is_anew=is_anew,
        at=now,
    )


def fetch_metadata(provider: Provider) -> Metadata:
    """What the provider says of itself now. Raises ProviderError."""
    url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
    said = _ask(provider, "GET", url)
    if said.get("issuer") != provider.issuer:
        raise ProviderError(Reason.WRONG_ISSUER, "The provider names itself otherwise.")
    addresses = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        address = said.get(name)
        if not isinstance(address, str) or not _is_as_safe(address, provider.issuer):
            raise ProviderError(Reason.UNREACHABLE, f"The provider publishes no usable {name}.")
        addresses[name] = address
    methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Metadata(
        **addresses,
        needs_basic_auth="client_secret_post" not in methods,
        sends_issuer=bool(said.get("authorization_response_iss_parameter_supported")),
    )


def authorization_url(
    *, provider: Provider, metadata: Metadata, begun: Begun, redirect_uri: str
) -> str:
    """Where the browser is sent."""
    challenge = hashlib.sha256(begun.verifier.encode()).digest()
    values = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": "openid",
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    if begun.is_anew:
        values |= {"prompt": "login", "max_age": "0"}
    joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{joint}{urlencode(values)}"


def identity_of(
    *,
    provider: Provider,
    begun: Begun,
    redirect_uri: str,
    answer: dict[str, str],
    now: datetime,
) -> Identity:
    """Who signed in, by the query with which the browser came back. Raises ProviderError."""
    if answer.get("error"):
        reason = Reason.CANCELLED if answer["error"] == "access_denied" else Reason.REFUSED
        raise ProviderError(reason, "The provider answered with an error.")
    metadata = fetch_metadata(provider)
    # RFC 9207: another provider's answer must not be taken to this one.
    if ("iss" in answer or metadata.sends_issuer) and answer.get("iss") != provider.issuer:
        raise ProviderError(Reason.WRONG_ISSUER, "The answer names another issuer.")
    if not answer.get("code"):
        raise ProviderError(Reason.REFUSED, "The answer brought no code.")
    id_token = _exchange(
        provider, metadata, begun=begun, redirect_uri=redirect_uri, code=answer["code"]
    )
    return tokens.verify(
        id_token,
        keys=_ask(provider, "GET", metadata.jwks_uri),
        expected=Expected(
            issuer=provider.issuer,
            client_id=provider.client_id,
            nonce=begun.nonce,
            anew_since=begun.at if begun.is_anew else None,
        ),
        now=now,
    )


def _exchange(
    provider: Provider, metadata: Metadata, *, begun: Begun, redirect_uri: str, code: str
) -> str:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": begun.verifier,
    }
    auth = None
    if metadata.needs_basic_auth:
        # Encoded first, as RFC 6749 section 2.3.1 says.
        auth = requests.auth.HTTPBasicAuth(
            quote_plus(provider.client_id), quote_plus(provider.client_secret.reveal())
        )
    else:
        form |= {
            "client_id": provider.client_id,
            "client_secret": provider.client_secret.reveal(),
        }
    said = _ask(provider, "POST", metadata.token_endpoint, data=form, auth=auth)
    id_token = said.get("id_token")
    if not isinstance(id_token, str) or not id_token.isascii():
        raise ProviderError(Reason.BAD_TOKEN, "The provider gave no ID token.")
    return id_token


def _ask(provider: Provider, method: str, url: str, **more: Any) -> dict[str, Any]:
    """The JSON object that the provider answers with."""
    try:
        with requests.Session() as session:
            # No proxy and no .netrc from the environment: what counts is in the settings.
            session.trust_env = False
            with session.request(
                method,
                url,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
                verify=provider.ca_bundle or True,
                headers={"Accept": "application/json"},
                **more,
            ) as response:
                status, body = response.status_code, _read(response)
    except (requests.RequestException, OSError) as error:
        raise ProviderError(Reason.UNREACHABLE, f"{type(error).__name__} at {url}") from None
    # 400 is how a token endpoint says that a code is spent or not ours.
    if status == 400:
        raise ProviderError(Reason.REFUSED, f"{url} refused (400).")
    said = _parsed(body) if status == 200 else None
    if said is None:
        raise ProviderError(Reason.UNREACHABLE, f"{url} answered {status}, or no JSON object.")
    return said


def _read(response: requests.Response) -> bytes:
    give_up_at = time.monotonic() + IN_TOTAL
    body = bytearray()
    for chunk in response.iter_content(16_384):
        body += chunk
        if len(body) > MAX_BODY or time.monotonic() > give_up_at:
            raise requests.RequestException("too long an answer")
    return bytes(body)


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _is_as_safe(address: str, issuer: str) -> bool:
    """https, or http on this machine where the issuer itself is there."""
    parts = _split(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return (
        parts.scheme == "http" and parts.hostname in _LOOPBACK and urlsplit(issuer).scheme == "http"
    )


def _split(address: str) -> SplitResult:
    """The parts of an address; of what is none, no parts."""
    try:
        return urlsplit(address if address.isascii() else "")
    except ValueError:
        return urlsplit("")
