"""What a browser says for a passkey or security key: read with care, from our own origin only.

django-allauth and fido2 check challenges and signatures. What they read comes from anybody, and
they raise many kinds of exceptions over it; they also take an answer given to any subdomain.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from fido2.webauthn import CollectedClientData

WRONG_PASSKEY = "That passkey was not accepted. Try again, or use your password."
# What reading JSON, CBOR and keys raises over malformed input. No fault of the database's.
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
_DEFAULT_PORTS = {"https": 443, "http": 80}


@contextmanager
def refusing_malformed() -> Iterator[None]:
    """Turn whatever reading a malformed answer raises into ValidationError."""
    try:
        yield
    except _MALFORMED:
        raise ValidationError(WRONG_PASSKEY) from None


class PasskeyField(forms.JSONField):
    """The browser's answer as the JSON object that it must be."""

    def to_python(self, value: Any) -> Any:
        """The object; None without an answer. Raises ValidationError, whatever was sent."""
        # Django reckons neither with JSON nested too deeply nor with numbers too long to read.
        with refusing_malformed():
            answer = super().to_python(value)
        if answer is not None and not isinstance(answer, dict):
            raise ValidationError(WRONG_PASSKEY)
        return answer

    def bound_data(self, data: Any, initial: Any) -> None:
        """Nothing: an answer is good once, and Django would read it anew to show it again."""


def require_own_origin(client_data: CollectedClientData, request: HttpRequest) -> None:
    """Raise ValidationError unless the browser was at exactly this origin when it answered.

    A page on a subdomain, or on another host that ALLOWED_HOSTS lets in, can ask for the same
    passkey and pass the answer on.
    """
    if client_data.origin not in own_origins(request):
        raise ValidationError(WRONG_PASSKEY)


def own_origins(request: HttpRequest) -> set[str]:
    """The origin of ORGADMIN_BASE_URL; without one, that of the request's own host.

    Empty when the host passed only by a pattern of ALLOWED_HOSTS, since it's then the sender's
    choice. A request that came by HTTP counts as HTTPS too: a proxy might not say what it ended.
    """
    if settings.BASE_URL:
        return {_origin_of(settings.BASE_URL)}
    host = request.get_host()
    if (urlsplit(f"//{host}").hostname or "") not in _exact_hosts():
        return set()
    return {f"https://{host}"} | ({f"http://{host}"} if not request.is_secure() else set())


def _exact_hosts() -> set[str]:
    return {host.lower().strip("[]") for host in settings.ALLOWED_HOSTS}


def _origin_of(url: str) -> str:
    """The origin as browsers write it: in lower case, without a default port."""
    parts = urlsplit(url.lower())
    is_default = parts.port == _DEFAULT_PORTS.get(parts.scheme)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host.rpartition(':')[0] if is_default else host}"
