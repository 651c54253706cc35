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


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptedColumn:
    """One column of envelopes. It holds "" where there is no secret.

    A secret is bound to `purpose` and `field` as well as to the row's key, site and version. These
    can differ from the names of the table and column, and must never change.
    """

    model: str
    column: str
    purpose: str
    field: str
    site_column: str
    version_column: str

    def secrets(self) -> Iterator[StoredSecret]:
        """The stored secrets. Yields none before the first migration."""
        rows = _rows_of(self.model).exclude(**{self.column: ""})
        columns = ("pk", self.column, self.site_column, self.version_column)
        for row_id, envelope, site, version in rows.values_list(*columns):
            context = EncryptionContext(
                purpose=self.purpose,
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
        row = _rows_of(self.model).filter(
            pk=secret.context.row_id, **{self.column: secret.envelope}
        )
        return row.update(**{self.column: envelope}) == 1


_CREDENTIAL_COLUMNS = tuple(
    EncryptedColumn(
        model="connections.Credential",
        column=f"{field}_envelope",
        purpose="credential",
        field=field,
        site_column="site",
        version_column="secret_version",
    )
    for field in ("api_key", "application_key", "access_token")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptedJSONValue:
    """One key of a JSON column whose values are envelopes, all bound to the same `context`.

    For a table of django-allauth, which doesn't pass the row to its encryption hook. Reads all
    rows, because a person has only a few.
    """

    model: str
    column: str
    key: str
    context: EncryptionContext

    def secrets(self) -> Iterator[StoredSecret]:
        """The stored secrets. Yields none before the first migration."""
        rows = _rows_of(self.model).filter(**{f"{self.column}__has_key": self.key})
        for value in rows.values_list(self.column, flat=True):
            yield StoredSecret(value[self.key], self.context)

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Replace `secret` with `envelope` unless the row has changed.

        Return whether it was replaced.
        """
        with transaction.atomic():
            rows = _rows_of(self.model).filter(**{f"{self.column}__{self.key}": secret.envelope})
            row = rows.select_for_update().first()
            if row is None:
                return False
            getattr(row, self.column)[self.key] = envelope
            row.save(update_fields=[self.column])
            return True


def _rows_of(model: str) -> models.QuerySet[Any, Any]:
    manager = apps.get_model(model)._base_manager
    rows: models.QuerySet[Any, Any] = manager.order_by()
    is_migrated = rows.model._meta.db_table in connection.introspection.table_names()
    return rows if is_migrated else rows.none()


# django-allauth passes only the text to its hook, so there is no row to bind it to.
MFA_SECRET_CONTEXT = EncryptionContext(purpose="mfa", row_id="", field="secret", site="", version=1)
# During setup, the secret is in the session for a few minutes. If its key is lost, setup starts
# over.
NEW_MFA_SECRET_CONTEXT = EncryptionContext(
    purpose="mfa", row_id="", field="new_secret", site="", version=1
)

EncryptedField = EncryptedColumn | EncryptedJSONValue

ENCRYPTED_FIELDS: tuple[EncryptedField, ...] = (
    *_CREDENTIAL_COLUMNS,
    *(
        # An authenticator app's secret, and the seed of recovery codes.
        EncryptedJSONValue(
            model="mfa.Authenticator", column="data", key=key, context=MFA_SECRET_CONTEXT
        )
        for key in ("secret", "seed")
    ),
)


def key_ids_in_use() -> set[str]:
    """The IDs of all keys that stored secrets need."""
    return {stored.key_id for field in ENCRYPTED_FIELDS for stored in field.secrets()}
