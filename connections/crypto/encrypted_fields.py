"""The database fields that hold encrypted secrets, and the keys that they need.

Startup checks, key ring creation and key rotation use this list. If a field were missing here, its
secrets would be lost when their key is removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connection, models, transaction

from connections.crypto.envelopes import (
    KEY_ID_LENGTH,
    KEY_ID_OFFSET,
    VERSION,
    EncryptionContext,
)


class StoredSecret(NamedTuple):
    """One envelope in the database, and the context it is bound to."""

    envelope: str
    context: EncryptionContext

    @property
    def key_id(self) -> str:
        """The ID of the key that it needs; "" if this is no envelope, because IDs are displayed."""
        if not self.envelope.startswith(f"{VERSION}."):
            return ""
        return self.envelope[KEY_ID_OFFSET : KEY_ID_OFFSET + KEY_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class CredentialColumn:
    """One column of credentials with envelopes. It holds "" where there is no secret.

    A secret is bound to its field as well as to the row's key, site and version.
    """

    field: str

    @property
    def column(self) -> str:
        """The name of the column."""
        return f"{self.field}_envelope"

    def secrets(self) -> Iterator[StoredSecret]:
        """The stored secrets. Yields none before the first migration."""
        rows = _rows_of("connections.Credential").exclude(**{self.column: ""})
        for row_id, envelope, site, version in rows.values_list(
            "pk", self.column, "site", "secret_version"
        ):
            context = EncryptionContext(
                purpose="credential",
                row_id=str(row_id),
                field=self.field,
                site=site,
                version=version,
            )
            yield StoredSecret(envelope, context)

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Replace `secret` with `envelope` unless the row has changed.

        Return whether it was replaced.

        Envelopes are unique, so finding the old one proves that the secret is unchanged.
        """
        row = _rows_of("connections.Credential").filter(
            pk=secret.context.row_id, **{self.column: secret.envelope}
        )
        return row.update(**{self.column: envelope}) == 1


@dataclass(frozen=True, slots=True)
class AuthenticatorValue:
    """One key of the JSON data of authenticators whose values are envelopes.

    django-allauth passes only the text to its encryption hook, so there is no row to bind a value
    to. Reads all rows, because a person has only a few.
    """

    key: str

    def secrets(self) -> Iterator[StoredSecret]:
        """The stored secrets. Yields none before the first migration."""
        rows = _rows_of("mfa.Authenticator").filter(data__has_key=self.key)
        for data in rows.values_list("data", flat=True):
            yield StoredSecret(data[self.key], MFA_SECRET_CONTEXT)

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Replace `secret` with `envelope` unless the row has changed.

        Return whether it was replaced.
        """
        with transaction.atomic():
            rows = _rows_of("mfa.Authenticator").filter(**{f"data__{self.key}": secret.envelope})
            row = rows.select_for_update().first()
            if row is None:
                return False
            row.data[self.key] = envelope
            row.save(update_fields=["data"])
            return True


def _rows_of(model: str) -> models.QuerySet[Any, Any]:
    manager = apps.get_model(model)._base_manager
    rows: models.QuerySet[Any, Any] = manager.order_by()
    is_migrated = rows.model._meta.db_table in connection.introspection.table_names()
    return rows if is_migrated else rows.none()


MFA_SECRET_CONTEXT = EncryptionContext(purpose="mfa", row_id="", field="secret", site="", version=1)
# During setup, the secret is in the session for a few minutes. If its key is lost, setup starts
# over.
NEW_MFA_SECRET_CONTEXT = EncryptionContext(
    purpose="mfa", row_id="", field="new_secret", site="", version=1
)

EncryptedField = CredentialColumn | AuthenticatorValue

ENCRYPTED_FIELDS: tuple[EncryptedField, ...] = (
    CredentialColumn("api_key"),
    CredentialColumn("application_key"),
    CredentialColumn("access_token"),
    # An authenticator app's secret, and the seed of recovery codes.
    AuthenticatorValue("secret"),
    AuthenticatorValue("seed"),
)


def key_ids_in_use() -> set[str]:
    """The IDs of all keys that stored secrets need."""
    return {stored.key_id for field in ENCRYPTED_FIELDS for stored in field.secrets()}
