"""The database columns that hold encrypted secrets: which they are and which keys they need.

Start-up checks, the making of a key ring and rotation all go by this list; a column missing
here would be lost when its key is dropped.
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
    """One envelope in the database and the place that it is bound to."""

    envelope: str
    place: EncryptionContext


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptedColumn:
    """One column of envelopes; its rows hold "" where there is no secret.

    `purpose` and `field` are what the secret is bound to beside the row's own key, site and
    version; they may differ from the names of the table and column and may never change.
    """

    model: str
    column: str
    purpose: str
    field: str
    site_column: str
    version_column: str

    def key_ids(self) -> set[str]:
        """The ids of the keys that rows of this column need; empty before the first migration."""
        if not self._is_migrated():
            return set()
        return set(self._rows().values_list("key_id", flat=True).distinct())

    def secrets(self, *, key_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with the key of this id."""
        return self._stored(self._rows().filter(key_id=key_id))

    def secrets_to_rotate(self, *, primary_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with any other key than the primary one."""
        return self._stored(self._rows().exclude(key_id=primary_id))

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Store `envelope` in the place of `secret` unless the row has changed since.

        An envelope's text never comes twice, so its being there still proves that nothing came
        between.
        """
        row = self._objects().filter(pk=secret.place.row_id, **{self.column: secret.envelope})
        return row.update(**{self.column: envelope}) == 1

    def _stored(self, rows: models.QuerySet[Any, Any]) -> Iterator[StoredSecret]:
        columns = ("pk", self.column, self.site_column, self.version_column)
        for row_id, envelope, site, version in rows.values_list(*columns):
            place = EncryptionContext(
                purpose=self.purpose,
                row_id=str(row_id),
                field=self.field,
                site=site,
                version=version,
            )
            yield StoredSecret(envelope, place)

    def _rows(self) -> models.QuerySet[Any, Any]:
        # Substr counts from 1. What is no envelope gets no id, since an id is shown.
        key_id = Case(
            When(
                **{f"{self.column}__startswith": f"{VERSION}."},
                then=Substr(self.column, KEY_ID_OFFSET + 1, KEY_ID_LENGTH),
            ),
            default=Value(""),
        )
        rows: models.QuerySet[Any, Any]
        rows = self._objects().exclude(**{self.column: ""}).annotate(key_id=key_id)
        return rows

    def _objects(self) -> models.QuerySet[Any, Any]:
        objects: models.QuerySet[Any, Any] = apps.get_model(self.model)._base_manager.order_by()
        return objects

    def _is_migrated(self) -> bool:
        table = apps.get_model(self.model)._meta.db_table
        return table in connection.introspection.table_names()


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
    """One key of a JSON column whose values are envelopes, all bound to the same `place`.

    For a table that is not ours and tells its encrypting hook no row. Its rows are read one by
    one: nobody has more than a few.
    """

    model: str
    column: str
    key: str
    place: EncryptionContext

    def key_ids(self) -> set[str]:
        """The ids of the keys that values need; empty before the first migration."""
        if apps.get_model(self.model)._meta.db_table not in connection.introspection.table_names():
            return set()
        return {_key_id_of(envelope) for envelope in self._envelopes()}

    def secrets(self, *, key_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with the key of this id."""
        for envelope in self._envelopes():
            if _key_id_of(envelope) == key_id:
                yield StoredSecret(envelope, self.place)

    def secrets_to_rotate(self, *, primary_id: str) -> Iterator[StoredSecret]:
        """The stored secrets that are encrypted with any other key than the primary one."""
        for envelope in self._envelopes():
            if _key_id_of(envelope) != primary_id:
                yield StoredSecret(envelope, self.place)

    def replace(self, secret: StoredSecret, *, envelope: str) -> bool:
        """Store `envelope` where `secret` is, unless it is there no more."""
        with transaction.atomic():
            rows = self._objects().filter(**{f"{self.column}__{self.key}": secret.envelope})
            row = rows.select_for_update().first()
            if row is None:
                return False
            getattr(row, self.column)[self.key] = envelope
            row.save(update_fields=[self.column])
            return True

    def _envelopes(self) -> list[str]:
        rows = self._objects().filter(**{f"{self.column}__has_key": self.key})
        values = rows.values_list(self.column, flat=True)
        return [value[self.key] for value in values]

    def _objects(self) -> models.QuerySet[Any, Any]:
        objects: models.QuerySet[Any, Any] = apps.get_model(self.model)._base_manager.order_by()
        return objects


def _key_id_of(envelope: str) -> str:
    parsed = parse_envelope(envelope)
    return parsed.key_id if parsed else ""


# django-allauth's hook is given the text alone, so there is no row to bind it to.
MFA_SECRET_CONTEXT = EncryptionContext(purpose="mfa", row_id="", field="secret", site="", version=1)
# One that is being set up waits in the session, for minutes; losing its key means starting anew.
NEW_MFA_SECRET_CONTEXT = EncryptionContext(
    purpose="mfa", row_id="", field="new_secret", site="", version=1
)

Column = EncryptedColumn | EncryptedJSONValue

ENCRYPTED_FIELDS: tuple[Column, ...] = (
    *_CREDENTIAL_COLUMNS,
    *(
        # The secret of an authenticator app, and the seed of recovery codes.
        EncryptedJSONValue(
            model="mfa.Authenticator", column="data", key=key, place=MFA_SECRET_CONTEXT
        )
        for key in ("secret", "seed")
    ),
)


def key_ids_in_use() -> set[str]:
    """The ids of all keys without which some stored secret could not be read."""
    return {key_id for column in ENCRYPTED_FIELDS for key_id in column.key_ids()}
