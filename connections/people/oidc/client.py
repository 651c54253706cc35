"""The authorization code flow with PKCE (RFC 7636) of OpenID Connect Core 1.0.

The access token is used at most once, to ask for claims that the ID token lacks, and discarded.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from connections.core.secret import Secret
from connections.people.oidc import claims as person_claims
from connections.people.oidc.exchange import (
    IdentityProvider,
    ProviderExchange,
    is_usable_endpoint,
    is_usable_issuer,
)
from connections.people.oidc.identity import Failure, ProviderError, ProviderIdentity


@dataclass(frozen=True, kw_only=True)
class SignInRequest:
    """A sign-in in progress, kept in the browser's session until the provider responds.

    `is_reauthentication` means that the person must sign in again even if the provider has a
    session.
    """

    state: str
    nonce: str
    verifier: str
    is_reauthentication: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ProviderMetadata:
    """The provider's published configuration (OpenID Connect Discovery)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    # These two are "" if the provider has none.
    userinfo_endpoint: str
    end_session_endpoint: str
    needs_basic_auth: bool
    sends_issuer: bool
    takes_claims: bool
    acr_values: tuple[str, ...]


def start(*, is_reauthentication: bool, now: datetime) -> SignInRequest:
    """A new sign-in with a random state, nonce and PKCE verifier."""
    return SignInRequest(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
        is_reauthentication=is_reauthentication,
        at=now,
    )


def fetch_metadata(exchange: ProviderExchange) -> ProviderMetadata:
    """The provider's current configuration. Raises ProviderError."""
    issuer = exchange.provider.issuer
    if not is_usable_issuer(issuer):
        raise ProviderError(Failure.UNREACHABLE, "The issuer URL isn't safe to use.")
    document = exchange.fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:
        raise ProviderError(
            Failure.WRONG_ISSUER, "The provider's configuration names another issuer."
        )
    methods = _get_texts(document, "token_endpoint_auth_methods_supported")
    return ProviderMetadata(
        authorization_endpoint=_get_endpoint(document, "authorization_endpoint", issuer=issuer),
        token_endpoint=_get_endpoint(document, "token_endpoint", issuer=issuer),
        jwks_uri=_get_endpoint(document, "jwks_uri", issuer=issuer),
        userinfo_endpoint=_get_endpoint(
            document, "userinfo_endpoint", issuer=issuer, is_needed=False
        ),
        end_session_endpoint=_get_endpoint(
            document, "end_session_endpoint", issuer=issuer, is_needed=False
        ),
        needs_basic_auth="client_secret_post" not in methods,
        sends_issuer=_get_flag(document, "authorization_response_iss_parameter_supported"),
        takes_claims=_get_flag(document, "claims_parameter_supported"),
        acr_values=tuple(_get_texts(document, "acr_values_supported")),
    )


def _get_endpoint(
    metadata: dict[str, Any], name: str, *, issuer: str, is_needed: bool = True
) -> str:
    url = metadata.get(name)
    if url is None and not is_needed:
        return ""
    if not isinstance(url, str) or not is_usable_endpoint(url, issuer=issuer):
        raise _unusable_error(name)
    return url


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
    return ProviderError(Failure.UNREACHABLE, f"The provider publishes no usable {name}.")


def build_authorization_url(
    *,
    provider: IdentityProvider,
    metadata: ProviderMetadata,
    request: SignInRequest,
    redirect_uri: str,
) -> str:
    """The URL to redirect the browser to."""
    challenge = hashlib.sha256(request.verifier.encode()).digest()
    values = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": provider.scopes,
        "state": request.state,
        "nonce": request.nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    # Only values that the provider knows: others might be refused.
    acr_values = [value for value in provider.mfa_values if value in metadata.acr_values]
    if acr_values:
        values["acr_values"] = " ".join(acr_values)
    if metadata.takes_claims:
        wanted: dict[str, Any] = {"auth_time": {"essential": True}}
        wanted |= {"amr": None} if provider.mfa_values else {}
        values["claims"] = json.dumps({"id_token": wanted}, separators=(",", ":"))
    if request.is_reauthentication:
        values |= {"prompt": "login", "max_age": "0"}
    separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{separator}{urlencode(values)}"


def fetch_identity(
    exchange: ProviderExchange,
    *,
    request: SignInRequest,
    redirect_uri: str,
    callback: dict[str, str],
    now: datetime,
    reads_claims: bool = False,
    is_known: Callable[[ProviderIdentity], bool] = lambda identity: False,
) -> ProviderIdentity:
    """Who signed in. `callback` is the query of the redirect. Raises ProviderError.

    `reads_claims` is whether the result says something about the person, if that is configured.
    Of an account that `is_known` here, only the roles are needed.
    """
    # PyJWT slows down the start of the web server, and few installations have a provider.
    from connections.people.oidc import tokens

    provider = exchange.provider
    if callback.get("error"):
        reason = Failure.CANCELLED if callback["error"] == "access_denied" else Failure.REFUSED
        raise ProviderError(reason, "The provider returned an error.")
    metadata = fetch_metadata(exchange)
    # RFC 9207: a response meant for another provider must not be accepted.
    if ("iss" in callback or metadata.sends_issuer) and callback.get("iss") != provider.issuer:
        raise ProviderError(Failure.WRONG_ISSUER, "The response names another issuer.")
    if not callback.get("code"):
        raise ProviderError(Failure.REFUSED, "The response has no code.")
    id_token, access_token = _fetch_tokens(
        exchange, metadata, request=request, redirect_uri=redirect_uri, code=callback["code"]
    )
    identity, claims = tokens.verify(
        id_token,
        keys=exchange.fetch(metadata.jwks_uri),
        issuer=provider.issuer,
        client_id=provider.client_id,
        nonce=request.nonce,
        signed_in_since=request.at if request.is_reauthentication else None,
        now=now,
    )
    if not reads_claims or not (provider.roles_claim or provider.creates_people):
        return identity
    is_incomplete = person_claims.is_incomplete(
        claims,
        roles_claim=provider.roles_claim,
        needs_email=provider.creates_people and not is_known(identity),
    )
    if is_incomplete and metadata.userinfo_endpoint and access_token:
        claims = _fetch_userinfo(exchange, metadata, access_token, identity) | claims
    return replace(identity, claims=person_claims.read(claims, roles_claim=provider.roles_claim))


def _fetch_userinfo(
    exchange: ProviderExchange,
    metadata: ProviderMetadata,
    access_token: Secret,
    identity: ProviderIdentity,
) -> dict[str, Any]:
    """The claims of the UserInfo endpoint, which must be about the same subject."""
    claims = exchange.fetch(metadata.userinfo_endpoint, authorization=access_token)
    if claims.get("sub") != identity.subject:
        raise ProviderError(Failure.BAD_TOKEN, "The userinfo is about another subject.")
    return claims


def _fetch_tokens(
    exchange: ProviderExchange,
    metadata: ProviderMetadata,
    *,
    request: SignInRequest,
    redirect_uri: str,
    code: str,
) -> tuple[str, Secret | None]:
    """The ID token for a code, and the header that uses the access token, if that is usable."""
    provider = exchange.provider
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": request.verifier,
    }
    secret, authorization = provider.client_secret.reveal(), None
    if metadata.needs_basic_auth:
        # Encoded first: RFC 6749, section 2.3.1.
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
        authorization = Secret(f"Basic {base64.b64encode(pair.encode()).decode()}")
    else:
        form |= {"client_id": provider.client_id, "client_secret": secret}
    document = exchange.fetch(metadata.token_endpoint, form=form, authorization=authorization)
    id_token = document.get("id_token")
    if not isinstance(id_token, str) or not id_token.isascii():
        raise ProviderError(Failure.BAD_TOKEN, "The provider returned no ID token.")
    access_token = document.get("access_token")
    if not isinstance(access_token, str) or not re.fullmatch(r"[!-~]+", access_token):
        return id_token, None
    return id_token, Secret(f"Bearer {access_token}")
