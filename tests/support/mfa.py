"""A person's MFA methods, stored as allauth stores them."""

import base64
import secrets
import time

from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import encrypt
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from connections.models import Person


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
    return app.generate(int(time.time())).decode()


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
