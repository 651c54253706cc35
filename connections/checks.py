"""System checks of our own, with their ids and hints."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from connections.encryption import EncryptionError, check_key_ring_opens_everything

KEYS = "keys"


# A deployment check that looks into the database: `migrate`, which may run where no key file is
# mounted, and commands that need no key leave it out. Serve runs `check --deploy --tag keys`.
@register(KEYS, Tags.database, deploy=True)
def check_key_ring(
    *, app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None, **kwargs: object
) -> list[CheckMessage]:
    """connections.E001: the key ring is missing, unusable, or not the one of this database."""
    del app_configs, databases, kwargs
    try:
        check_key_ring_opens_everything()
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
