"""Changes every column of a record, where it is stored and in a bundle, to see each one found."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models, transaction

from connections.audit.events import NOT_RECORDED
from connections.evidence import comparison
from connections.evidence.records import RecordKind, Table
from tests.evidence.support import Forger, Made, complaint
from tests.support.append_only import TABLES, triggers_off
from tests.support.sweeps import ON_POSTGRESQL, sample


@contextmanager
def tampering() -> Iterator[None]:
    """A transaction without triggers and constraints, which is rolled back."""
    is_postgresql = connection.vendor == "postgresql"
    with transaction.atomic(), connection.cursor() as cursor:
        if is_postgresql:
            # PostgreSQL alters no table whose rows it still has to check.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            cursor.execute(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint "
                "WHERE contype = 'c' AND conrelid::regclass::text LIKE 'connections_%'"
            )
            for table, name in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        with nullcontext() if is_postgresql else triggers_off():
            yield
        transaction.set_rollback(True)
    if not is_postgresql:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def tables_of(kind: RecordKind) -> list[Table]:
    return [*kind.tables, *([kind.many] if kind.many else [])]


def newest_rows(kind: RecordKind, record: uuid.UUID) -> list[tuple[Table, models.Model]]:
    """The newest row of each table that has one of this record."""
    rows = [
        (table, table.model._default_manager.filter(**{table.record: record}).order_by("pk").last())
        for table in tables_of(kind)
    ]
    return [(table, row) for table, row in rows if row]


def differences(kind: RecordKind, record: uuid.UUID) -> dict[Any, str]:
    raw = record if connection.vendor == "postgresql" else record.hex
    return comparison._find_differences(kind, [raw])


def is_found(kind: RecordKind, record: uuid.UUID) -> bool:
    return bool(differences(kind, record))


def assert_each_stored_column_counts(
    kind: RecordKind, record: uuid.UUID, subtests: pytest.Subtests
) -> None:
    """Every column of every table of this record: changed, it is found; or it isn't recorded."""
    assert differences(kind, record) == {}
    for table, row in newest_rows(kind, record):
        for field in table.model._meta.concrete_fields:
            column = field.attname
            reason = NOT_RECORDED.get(table.model, {}).get(field.name)
            with subtests.test(table=table.name, column=column), tampering():
                if reason is not None:
                    assert len(reason) > 5
                    continue
                value = another(field, getattr(row, column))
                changed = table.model._default_manager.filter(pk=row.pk)
                assert changed.update(**{column: value}) == 1
                assert is_found(kind, record)


def assert_each_stored_row_counts(
    kind: RecordKind, record: uuid.UUID, subtests: pytest.Subtests
) -> None:
    """A removed row of each table, and one more, are found."""
    for table, row in newest_rows(kind, record):
        with subtests.test(removed=table.name), tampering():
            table.model._default_manager.filter(pk=row.pk)._raw_delete(using="default")
            assert is_found(kind, record) or kind.main == table
        # Where another one can be added to the same record.
        if table == kind.main or row._meta.pk.remote_field or table.name == "protection_removal":
            continue
        with subtests.test(added=table.name), tampering():
            for field in table.model._meta.concrete_fields:
                # Whatever is unique.
                if field.name in {"number", "epoch", "round", "position", "person"} or (
                    table == kind.many and field.name == "connection_id"
                ):
                    setattr(row, field.attname, another(field, getattr(row, field.attname)))
            row.pk = None
            row.save(force_insert=True)
            assert is_found(kind, record)


def another(field: Any, value: Any) -> Any:
    """Another value for this column."""
    target = field.target_field if field.remote_field else field
    match target:
        case models.BooleanField():
            return not value
        case models.UUIDField():
            return uuid.uuid4()
        case models.JSONField():
            return [*value, "x"] if isinstance(value, list) else {**(value or {}), "x": 1}
        case models.BinaryField():
            return b"other"
        case models.DateTimeField():
            return (value or datetime(2020, 1, 1, tzinfo=UTC)) + timedelta(seconds=1)
        case models.DateField():
            return (value or date(2020, 1, 1)) + timedelta(days=1)
        case models.CharField():
            return "y" if value == "x" else "x"
        case models.TextField():
            return f"{value}x"
        case _:
            return (value or 0) + 1000


def assert_each_bundled_column_counts(
    made: Made, record: str, directory: Path, subtests: pytest.Subtests
) -> None:
    """Each column of this record in a bundle: changed or removed, the verifier finds it.

    A test run takes a quarter of the columns; on PostgreSQL, with the same bundles, a twentieth.
    """
    lines = Forger(made=made).records()
    place = next(number for number, line in enumerate(lines) if line.get("id") == record)
    paths: list[tuple[int, tuple[str, ...]]] = [
        (place, ("rows", row, column))
        for row, columns in lines[place]["rows"].items()
        for column in columns
    ]
    paths += [(place, ("rows", row)) for row in lines[place]["rows"]]
    after = place + 1
    while after < len(lines) and "row" in lines[after]:
        paths += [(after, ("row", column)) for column in lines[after]["row"]]
        after += 1
    for number, path in sample(paths, every=20 if ON_POSTGRESQL else 4):
        with subtests.test(line=number - place, path=path):
            forger = Forger(made=made)
            forger.edit_records(partial(_spoil, number, path))
            if path[-1] in {"batch_rows", "access_review_rows"} or path[-2:-1] in (
                ("batch_rows",),
                ("access_review_rows",),
            ):
                # Computed by the verifier, whatever the bundle says.
                continue
            assert complaint(forger.signed(), directory), path
    with subtests.test(added="row"):
        forger = Forger(made=made)
        forger.edit_records(lambda rows: rows[place]["rows"].update({"attempt 77": {"number": 77}}))
        assert "no event records" in complaint(forger.signed(), directory)


def _spoil(number: int, path: tuple[str, ...], records: list[dict[str, Any]]) -> None:
    document = records[number]
    for key in path[:-1]:
        document = document[key]
    if len(path) == 2 and path[0] == "rows":
        del document[path[-1]]
    else:
        value = document[path[-1]]
        document[path[-1]] = not value if isinstance(value, bool) else f"{json.dumps(value)}x"
