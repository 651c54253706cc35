"""What the identity provider says about a person: claims of the ID token and of userinfo."""

from collections.abc import Mapping
from typing import Any

from connections.people.oidc.identity import Failure, PersonClaims, ProviderError

type Claims = Mapping[str, Any]

# Entra ID leaves the claim out above 200 groups.
MAX_VALUES = 1000
MAX_TEXT = 254


def is_incomplete(claims: Claims, *, roles_claim: str, needs_email: bool) -> bool:
    """Whether userinfo must be asked too. Raises ProviderError for a claim that is too large."""
    if roles_claim:
        _check_size(claims, roles_claim)
    has_roles = not roles_claim or roles_claim in claims
    return not has_roles or (needs_email and "email" not in claims)


def read(claims: Claims, *, roles_claim: str) -> PersonClaims:
    """What the claims say. Raises ProviderError unless the claim for roles is there and usable.

    `roles_claim` is "" if roles aren't mapped.
    """
    return PersonClaims(
        username=_get_text(claims, "preferred_username"),
        # Some providers send it as text, and some don't send it at all.
        email=_get_text(claims, "email")
        if claims.get("email_verified", True) in (True, "true")
        else "",
        name=_get_text(claims, "name"),
        groups=_get_values(claims, roles_claim) if roles_claim else frozenset(),
    )


def _get_text(claims: Claims, name: str) -> str:
    text = claims.get(name)
    if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
        return ""
    return text.strip()


def _get_values(claims: Claims, name: str) -> frozenset[str]:
    _check_size(claims, name)
    values = claims.get(name)
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ProviderError(Failure.NO_ROLES_CLAIM, "The claim for roles is absent or no list.")
    if len(values) > MAX_VALUES:
        raise ProviderError(Failure.ROLES_CLAIM_TOO_LARGE, f"It has over {MAX_VALUES} values.")
    return frozenset(values)


def _check_size(claims: Claims, name: str) -> None:
    """Raise ProviderError if the provider says that it left the claim out for its size."""
    elsewhere = claims.get("_claim_names", {})
    is_elsewhere = not isinstance(elsewhere, dict) or name in elsewhere
    if is_elsewhere or ("hasgroups" in claims and name not in claims):
        raise ProviderError(Failure.ROLES_CLAIM_TOO_LARGE, "The provider left the claim out.")
