"""A person's MFA methods, stored as allauth stores them."""

import base64
import secrets
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import encrypt
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from connections.models import Person

_SECONDS = 1_772_460_202  # since 1970


@pytest.fixture(autouse=True, scope="session")
def _no_code_expires() -> Iterator[None]:
    # A code is valid until the current half of a minute ends, which could be before it is used.
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(time=lambda: _SECONDS)
        patch.setattr("allauth.mfa.totp.internal.auth.time", clock)
        yield


def set_up_app(person: Person, secret: str) -> Authenticator:
    """Give the person an authenticator app with this secret."""
    stored: Authenticator = Authenticator.objects.create(
        user=person, type=Authenticator.Type.TOTP, data={"secret": encrypt(secret)}
    )
    return stored


def code_of(secret: str) -> str:
    """The code that an authenticator app with this secret shows now."""
    app = TOTP(
        base64.b32decode(secret),
        app_settings.TOTP_DIGITS,
        SHA1(),  # noqa: S303 - what authenticator apps compute
        app_settings.TOTP_PERIOD,
        enforce_key_length=False,
    )
    return app.generate(_SECONDS).decode()


def set_up_recovery_codes(person: Person) -> list[str]:
    """Give the person recovery codes, and return them."""
    Authenticator.objects.create(
        user=person,
        type=Authenticator.Type.RECOVERY_CODES,
        data={"seed": encrypt(secrets.token_hex(40)), "used_mask": 0},
    )
    return recovery_codes_of(person)


def recovery_codes_of(person: Person) -> list[str]:
    """The person's unused recovery codes."""
    stored = Authenticator.objects.get(user=person, type=Authenticator.Type.RECOVERY_CODES)
    codes: list[str] = stored.wrap().get_unused_codes()
    return codes
