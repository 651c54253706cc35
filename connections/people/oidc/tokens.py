"""Verifies the identity provider's ID tokens."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from connections.people.oidc.identity import (
    Failure,
    ProviderError,
    ProviderIdentity,
    is_valid_subject,
)

# Only asymmetric signatures: not "none", and no shared keys.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
# Allowed difference between the clocks of two machines.
LEEWAY = timedelta(seconds=60)

_REASONS: tuple[tuple[type[jwt.PyJWTError], Failure], ...] = (
    (jwt.InvalidIssuerError, Failure.WRONG_ISSUER),
    (jwt.InvalidAudienceError, Failure.WRONG_AUDIENCE),
    (jwt.ExpiredSignatureError, Failure.EXPIRED),
    (jwt.ImmatureSignatureError, Failure.EXPIRED),
)


def verify(
    id_token: str,
    *,
    keys: dict[str, Any],
    issuer: str,
    client_id: str,
    nonce: str,
    signed_in_since: datetime | None,
    now: datetime,
) -> tuple[ProviderIdentity, dict[str, Any]]:
    """The person that the token identifies, and all claims. Raises ProviderError.

    `keys` is a JWK set. `signed_in_since` is the earliest sign-in time, if one is required.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key=_find_key(id_token, keys),
            algorithms=list(ALGORITHMS),
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY,
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.PyJWTError as error:
        reason = next((to for kind, to in _REASONS if isinstance(error, kind)), Failure.BAD_TOKEN)
        raise ProviderError(reason, f"The ID token isn't valid: {type(error).__name__}.") from None
    _check_nonce_and_audience(claims, nonce=nonce, client_id=client_id)
    authenticated_at = _get_auth_time(claims, now=now)
    if signed_in_since is not None:
        _check_auth_time(authenticated_at, since=signed_in_since)
    identity = ProviderIdentity(
        issuer=issuer,
        subject=_get_subject(claims),
        methods=_get_methods(claims),
        authenticated_at=authenticated_at,
    )
    return identity, claims


def _find_key(id_token: str, keys: dict[str, Any]) -> jwt.PyJWK:
    key_id = jwt.get_unverified_header(id_token).get("kid")
    published = keys.get("keys")
    if not isinstance(published, list):
        raise jwt.InvalidKeyError("The provider publishes no list of keys.")
    usable = jwt.PyJWKSet([key for key in published if _is_usable_key(key)]).keys
    fitting = [key for key in usable if key.key_id == key_id] if key_id else usable
    if len(fitting) != 1:
        raise jwt.InvalidKeyError("The provider publishes no matching key.")
    return fitting[0]


def _is_usable_key(key: object) -> bool:
    """Whether it is a public key for an accepted kind of signature.

    PyJWT gets no other keys, because some malformed or symmetric keys make it raise unexpected
    exceptions.
    """
    return (
        isinstance(key, dict)
        and key.get("kty") in ("RSA", "EC", "OKP")
        and key.get("alg") in (None, *ALGORITHMS)
        and key.get("use") != "enc"
    )


def _check_nonce_and_audience(claims: dict[str, Any], *, nonce: str, client_id: str) -> None:
    token_nonce = claims.get("nonce")
    if not isinstance(token_nonce, str) or not token_nonce.isascii():
        token_nonce = ""
    if not secrets.compare_digest(token_nonce, nonce):
        raise ProviderError(Failure.WRONG_NONCE, "The ID token is for another sign-in.")
    audience = claims["aud"]
    is_for_several = isinstance(audience, list) and len(audience) > 1
    if (is_for_several or "azp" in claims) and claims.get("azp") != client_id:
        raise ProviderError(Failure.WRONG_AUDIENCE, "The ID token is for another client.")


def _get_auth_time(claims: dict[str, Any], *, now: datetime) -> datetime | None:
    """When the person last signed in there. None for an invalid time, or one in the future."""
    auth_time = claims.get("auth_time")
    if not isinstance(auth_time, int) or isinstance(auth_time, bool) or not 0 <= auth_time < 2**40:
        return None
    at = datetime.fromtimestamp(auth_time, UTC)
    return min(at, now) if at <= now + LEEWAY else None


def _check_auth_time(at: datetime | None, *, since: datetime) -> None:
    if at is None:
        raise ProviderError(Failure.NOT_REAUTHENTICATED, "The ID token has no valid auth_time.")
    # auth_time is in whole seconds.
    if at < since - LEEWAY:
        raise ProviderError(Failure.NOT_REAUTHENTICATED, "The person didn't sign in again.")


def _get_subject(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not is_valid_subject(subject):
        raise ProviderError(Failure.BAD_TOKEN, "The ID token names no usable subject.")
    return subject


def _get_methods(claims: dict[str, Any]) -> frozenset[str]:
    methods = claims.get("amr")
    values = [*methods] if isinstance(methods, list) else []
    return frozenset(value for value in [*values, claims.get("acr")] if isinstance(value, str))
