"""Passkey and security key responses: parsed defensively, accepted only for Org Admin's origin.

django-allauth and fido2 check challenges and signatures. On malformed input they raise many kinds
of exceptions, and they accept a response for any subdomain.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from fido2.webauthn import AuthenticationResponse, CollectedClientData

from connections.core.own_address import own_origin
from connections.web.people import allauth_internals

WRONG_PASSKEY = "Passkey not accepted. Try again, or use your password."
# Raised for malformed JSON, CBOR and keys. Doesn't include database errors.
_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@contextmanager
def refusing_malformed() -> Iterator[None]:
    """Turn the exceptions for malformed input into ValidationError."""
    try:
        yield
    except _MALFORMED:
        raise ValidationError(WRONG_PASSKEY) from None


class PasskeyField(forms.JSONField):
    """The browser's response as a JSON object."""

    def to_python(self, value: Any) -> Any:
        """The object. None for an empty value. Raises ValidationError for anything else."""
        # Django handles neither deeply nested JSON nor overlong numbers.
        with refusing_malformed():
            response = super().to_python(value)
        if response is not None and not isinstance(response, dict):
            raise ValidationError(WRONG_PASSKEY)
        return response

    def bound_data(self, data: Any, initial: Any) -> None:
        """None: a response is valid only once, and Django would parse it again to show it."""


def parse_passkey_response(
    credential: dict[str, Any], *, request: HttpRequest
) -> AuthenticationResponse:
    """The browser's response for a passkey, parsed.

    Raises ValidationError for a malformed response and for one from another origin.
    """
    with refusing_malformed():
        parsed: AuthenticationResponse = allauth_internals.parse_authentication_response(credential)
        require_own_origin(parsed.response.client_data, request)
    return parsed


def require_user_verification(credential: dict[str, Any], *, request: HttpRequest) -> None:
    """Raise ValidationError unless the signed response says that the key verified its user.

    Requesting it is not enough: allauth stores one challenge for all its forms, and the challenge
    for MFA or a new key does not require user verification.
    """
    parsed = parse_passkey_response(credential, request=request)
    if not parsed.response.authenticator_data.is_user_verified():
        raise ValidationError(WRONG_PASSKEY)


def require_own_origin(client_data: CollectedClientData, request: HttpRequest) -> None:
    """Raise ValidationError unless the response is for exactly this origin.

    A page on a subdomain, or on another host in ALLOWED_HOSTS, can request the same passkey and
    relay the response.
    """
    if client_data.origin not in own_origins(request):
        raise ValidationError(WRONG_PASSKEY)


def own_origins(request: HttpRequest) -> set[str]:
    """The origins of Org Admin, whose address is ORGADMIN_BASE_URL or the request's own host.

    Empty if that isn't certain. Without ORGADMIN_BASE_URL, an HTTP request also counts as HTTPS,
    because a proxy can terminate TLS without saying so.
    """
    origin = own_origin(request)
    if settings.BASE_URL or not origin:
        return {origin} - {""}
    return {origin, origin.replace("http://", "https://", 1)}
