"""The database fields that hold encrypted secrets, and the keys that they need.

Startup checks, key ring creation and key rotation use this list. The secrets of a field missing
here would be lost when its key is removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connection, models, transaction
from django.db.models import Case, Value, When
from django.db.models.functions import Substr

from connections.crypto.envelopes import (
    KEY_ID_LENGTH,
    KEY_ID_OFFSET,
    VERSION,
    EncryptionContext,
    parse_envelope,
)


class StoredSecret(NamedTuple):
    """One envelope in the database and the context that it is bound to."""

    envelope: str
    context: EncryptionContext


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptedColumn:
    """One column of envelopes; "" where there is no secret.

    A secret is bound to `purpose` and `field` as well as the row's key, site and version. They
    can differ from the names of the table and column, and must never change.
    """

    model: str
    column: str
    purpose: str
    field: str
    site_column: str
    version_column: str

    def key_ids(self) -> set[str]:
        """The ids of the keys that rows of this column need; empty before the first migration."""
        if not _is_migrated(self.model):
            return set()
        return set(self._rows().values_list("key_id", flat=True).distinct())

    def secrets(self, *, key_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with the key of this id."""
        return self._stored(self._rows().filter(key_id=key_id))

    def secrets_to_rotate(self, *, primary_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with any other key than the primary one."""
        return self._stored(self._rows().exclude(key_id=primary_id))

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Replace `secret` by `envelope` unless the row has changed since. Whether it did.

        Envelopes are unique, so finding the old one proves that the secret is unchanged.
        """
        row = _rows_of(self.model).filter(
            pk=secret.context.row_id, **{self.column: secret.envelope}
        )
        return row.update(**{self.column: envelope}) == 1

    def _stored(self, rows: models.QuerySet[Any, Any]) -> Iterator[StoredSecret]:
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

    def _rows(self) -> models.QuerySet[Any, Any]:
        # Substr counts from 1. Ids are displayed, so a value that is not an envelope gets none.
        key_id = Case(
            When(
                **{f"{self.column}__startswith": f"{VERSION}."},
                then=Substr(self.column, KEY_ID_OFFSET + 1, KEY_ID_LENGTH),
            ),
            default=Value(""),
        )
        rows: models.QuerySet[Any, Any]
        rows = _rows_of(self.model).exclude(**{self.column: ""}).annotate(key_id=key_id)
        return rows


_CREDENTIAL_COLUMNS = tuple(
    EncryptedColumn(
        model="connections.Credential",
        column=f"{field}_envelope",
        purpose="credential",
        field=field,
        site_column="site",
        version_column="secret_version",
    )
    for field in ("api_key", "application_key")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptedJSONValue:
    """One key of a JSON column whose values are envelopes, all bound to the same `context`.

    For a table of django-allauth, which doesn't pass the row to its encryption hook. Reads all
    rows: a person has only a few.
    """

    model: str
    column: str
    key: str
    context: EncryptionContext

    def key_ids(self) -> set[str]:
        """The ids of the keys that values need; empty before the first migration."""
        if not _is_migrated(self.model):
            return set()
        return {_key_id_of(envelope) for envelope in self._envelopes()}

    def secrets(self, *, key_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with the key of this id."""
        for envelope in self._envelopes():
            if _key_id_of(envelope) == key_id:
                yield StoredSecret(envelope, self.context)

    def secrets_to_rotate(self, *, primary_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with any other key than the primary one."""
        for envelope in self._envelopes():
            if _key_id_of(envelope) != primary_id:
                yield StoredSecret(envelope, self.context)

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Replace `secret` by `envelope` unless the row has changed since. Whether it did."""
        with transaction.atomic():
            rows = _rows_of(self.model).filter(**{f"{self.column}__{self.key}": secret.envelope})
            row = rows.select_for_update().first()
            if row is None:
                return False
            getattr(row, self.column)[self.key] = envelope
            row.save(update_fields=[self.column])
            return True

    def _envelopes(self) -> list[str]:
        rows = _rows_of(self.model).filter(**{f"{self.column}__has_key": self.key})
        values = rows.values_list(self.column, flat=True)
        return [value[self.key] for value in values]


def _is_migrated(model: str) -> bool:
    return apps.get_model(model)._meta.db_table in connection.introspection.table_names()


def _rows_of(model: str) -> models.QuerySet[Any, Any]:
    rows: models.QuerySet[Any, Any] = apps.get_model(model)._base_manager.order_by()
    return rows


def _key_id_of(envelope: str) -> str:
    parsed = parse_envelope(envelope)
    return parsed.key_id if parsed else ""


# django-allauth's hook gets only the text, so there is no row to bind it to.
MFA_SECRET_CONTEXT = EncryptionContext(purpose="mfa", row_id="", field="secret", site="", version=1)
# During setup, the secret is in the session for minutes. If its key is lost, setup starts again.
NEW_MFA_SECRET_CONTEXT = EncryptionContext(
    purpose="mfa", row_id="", field="new_secret", site="", version=1
)

Column = EncryptedColumn | EncryptedJSONValue

ENCRYPTED_FIELDS: tuple[Column, ...] = (
    *_CREDENTIAL_COLUMNS,
    *(
        # The secret of an authenticator app, and the seed of recovery codes.
        EncryptedJSONValue(
            model="mfa.Authenticator", column="data", key=key, context=MFA_SECRET_CONTEXT
        )
        for key in ("secret", "seed")
    ),
)


def key_ids_in_use() -> set[str]:
    """The ids of all keys that stored secrets need."""
    return {key_id for column in ENCRYPTED_FIELDS for key_id in column.key_ids()}
