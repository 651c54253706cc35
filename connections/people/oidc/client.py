"""The authorization code flow with PKCE (RFC 7636), as OpenID Connect Core 1.0 describes it.

Only `openid` is asked for: no e-mail, no name. The access token that comes along is not kept.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from connections.core.secret import Secret
from connections.people.oidc import tokens
from connections.people.oidc.exchange import (
    IdentityProvider,
    ProviderExchange,
    is_usable_endpoint,
    is_usable_issuer,
)
from connections.people.oidc.tokens import ExpectedClaims, ProviderError, ProviderIdentity, Reason


@dataclass(frozen=True, kw_only=True)
class SignInRequest:
    """A sign-in that was begun, to be kept in the browser's session until the answer comes.

    `is_anew`: the person must sign in there once more, whatever session they have.
    """

    state: str
    nonce: str
    verifier: str
    is_anew: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ProviderMetadata:
    """What the provider publishes of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    needs_basic_auth: bool
    sends_issuer: bool


def start(*, is_anew: bool, now: datetime) -> SignInRequest:
    """A new sign-in, which nobody can guess or answer for another."""
    return SignInRequest(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
        is_anew=is_anew,
        at=now,
    )


def fetch_metadata(exchange: ProviderExchange) -> ProviderMetadata:
    """What the provider says of itself now. Raises ProviderError."""
    issuer = exchange.provider.issuer
    if not is_usable_issuer(issuer):
        raise ProviderError(Reason.UNREACHABLE, "The issuer is not an address that can be trusted.")
    said = exchange.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if said.get("issuer") != issuer:
        raise ProviderError(Reason.WRONG_ISSUER, "The provider names itself otherwise.")
    methods = _get_texts(said, "token_endpoint_auth_methods_supported")
    return ProviderMetadata(
        authorization_endpoint=_get_endpoint(said, "authorization_endpoint", issuer=issuer),
        token_endpoint=_get_endpoint(said, "token_endpoint", issuer=issuer),
        jwks_uri=_get_endpoint(said, "jwks_uri", issuer=issuer),
        needs_basic_auth="client_secret_post" not in methods,
        sends_issuer=_get_flag(said, "authorization_response_iss_parameter_supported"),
    )


def _get_endpoint(metadata: dict[str, Any], name: str, *, issuer: str) -> str:
    address = metadata.get(name)
    if not isinstance(address, str) or not is_usable_endpoint(address, issuer=issuer):
        raise _unusable_error(name)
    return address


def _get_texts(metadata: dict[str, Any], name: str) -> list[str]:
    texts = metadata.get(name)
    if texts is None:
        return []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _unusable_error(name)
    return texts


def _get_flag(metadata: dict[str, Any], name: str) -> bool:
    flag = metadata.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise _unusable_error(name)
    return bool(flag)


def _unusable_error(name: str) -> ProviderError:
    return ProviderError(Reason.UNREACHABLE, f"The provider publishes no usable {name}.")


def build_authorization_url(
    *,
    provider: IdentityProvider,
    metadata: ProviderMetadata,
    begun: SignInRequest,
    redirect_uri: str,
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


def fetch_identity(
    exchange: ProviderExchange,
    *,
    begun: SignInRequest,
    redirect_uri: str,
    answer: dict[str, str],
    now: datetime,
) -> ProviderIdentity:
    """Who signed in, by the query with which the browser came back. Raises ProviderError."""
    provider = exchange.provider
    if answer.get("error"):
        reason = Reason.CANCELLED if answer["error"] == "access_denied" else Reason.REFUSED
        raise ProviderError(reason, "The provider answered with an error.")
    metadata = fetch_metadata(exchange)
    # RFC 9207: another provider's answer must not be taken to this one.
    if ("iss" in answer or metadata.sends_issuer) and answer.get("iss") != provider.issuer:
        raise ProviderError(Reason.WRONG_ISSUER, "The answer names another issuer.")
    if not answer.get("code"):
        raise ProviderError(Reason.REFUSED, "The answer brought no code.")
    id_token = _fetch_id_token(
        exchange, metadata, begun=begun, redirect_uri=redirect_uri, code=answer["code"]
    )
    return tokens.verify(
        id_token,
        keys=exchange.get(metadata.jwks_uri),
        expected=ExpectedClaims(
            issuer=provider.issuer,
            client_id=provider.client_id,
            nonce=begun.nonce,
            anew_since=begun.at if begun.is_anew else None,
        ),
        now=now,
    )


def _fetch_id_token(
    exchange: ProviderExchange,
    metadata: ProviderMetadata,
    *,
    begun: SignInRequest,
    redirect_uri: str,
    code: str,
) -> str:
    """The ID token for a code."""
    provider = exchange.provider
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": begun.verifier,
    }
    keys = {}
    if metadata.needs_basic_auth:
        keys["Authorization"] = _basic_auth(provider)
    else:
        form |= {
            "client_id": provider.client_id,
            "client_secret": provider.client_secret.reveal(),
        }
    said = exchange.post(metadata.token_endpoint, form=form, keys=keys)
    id_token = said.get("id_token")
    if not isinstance(id_token, str) or not id_token.isascii():
        raise ProviderError(Reason.BAD_TOKEN, "The provider gave no ID token.")
    return id_token


def _basic_auth(provider: IdentityProvider) -> Secret:
    # Encoded first, as RFC 6749 section 2.3.1 says.
    pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret.reveal())}"
    return Secret(f"Basic {base64.b64encode(pair.encode()).decode()}")
