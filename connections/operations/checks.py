"""Django system checks of keys, passkey hosts and the identity provider."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from connections.core.private_files import PrivateFileError, read_private_text
from connections.crypto.encryption import EncryptionError
from connections.crypto.encryption import check_key_ring as check_stored_keys
from connections.people.oidc.exchange import is_usable_issuer

KEYS = "keys"


# A deployment check that reads the database, so that commands without keys don't run it, such as
# `migrate`, which might run without a mounted key file.
@register(KEYS, Tags.database, deploy=True)
def check_key_ring(
    *, app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None, **kwargs: object
) -> list[CheckMessage]:
    """connections.E001: the key ring is missing, unusable, or not the one of this database."""
    del app_configs, databases, kwargs
    try:
        check_stored_keys()
    except EncryptionError as error:
        return [
            Error(
                str(error),
                hint="ORGADMIN_KEYRING_FILE names the key ring; docs/OPERATIONS.md says how to "
                "back it up and restore it.",
                id="connections.E001",
            )
        ]
    return []


@register(KEYS, Tags.security, deploy=True)
def check_passkey_origin(
    *, app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """connections.W001: no exact host is known, so no passkey is accepted."""
    del app_configs, kwargs
    patterns = [host for host in settings.ALLOWED_HOSTS if host.startswith((".", "*"))]
    if not patterns or settings.BASE_URL:
        return []
    return [
        Warning(
            f"ALLOWED_HOSTS holds a pattern ({', '.join(patterns)}) and ORGADMIN_BASE_URL is not "
            "set. Passkeys and security keys work only on hosts that ALLOWED_HOSTS names exactly.",
            hint="Set ORGADMIN_BASE_URL to the address at which people open Org Admin.",
            id="connections.W001",
        )
    ]


@register(KEYS, Tags.security, deploy=True)
def check_identity_provider(
    *, app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """connections.E002 to E004: an incomplete or unusable identity provider configuration."""
    del app_configs, kwargs
    needed = {
        "ORGADMIN_OIDC_ISSUER": settings.OIDC_ISSUER,
        "ORGADMIN_OIDC_CLIENT_ID": settings.OIDC_CLIENT_ID,
        "ORGADMIN_OIDC_CLIENT_SECRET_FILE": settings.OIDC_SECRET_FILE,
    }
    missing = [name for name, value in needed.items() if not value]
    if len(missing) == len(needed):
        return []
    if missing:
        text = f"The sign-in provider is configured in half: {', '.join(missing)} missing."
        return [Error(text, hint="Set all three, or none of them.", id="connections.E002")]
    problems: list[CheckMessage] = []
    if not is_usable_issuer(settings.OIDC_ISSUER):
        problems.append(
            Error(
                "ORGADMIN_OIDC_ISSUER is no address that can be trusted.",
                hint="https://, as the provider writes its issuer, without query; http:// only for "
                "this machine.",
                id="connections.E003",
            )
        )
    try:
        read_private_text(settings.OIDC_SECRET_FILE)
    except PrivateFileError as error:
        hint = "ORGADMIN_OIDC_CLIENT_SECRET_FILE names a file with the client's secret alone."
        problems.append(Error(str(error), hint=hint, id="connections.E004"))
    return problems
