"""What only tests do to the audit log: empty its tables, or tamper with a copy."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import TransactionTestCase

from connections.models import AppliedMigration
from connections.operations.schema import list_rules
from tests.support.database_copies import copy_of_database, restore_database

migration = import_module("connections.migrations.0002_database_rules")
TABLES = sorted({rule.table for rule in list_rules(connection.vendor)})


@contextmanager
def triggers_off() -> Iterator[None]:
    """Disable the triggers during the block, as the owner of the database could."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            _postgresql(cursor, "DISABLE")
            yield
            _postgresql(cursor, "ENABLE")
            return
        names = ", ".join(f"'{table}'" for table in TABLES)
        cursor.execute(
            f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ({names})"  # noqa: S608 - our own names
        )
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {name}")
        yield
        for _, statement in triggers:
            cursor.execute(statement)


def _postgresql(cursor: Any, verb: str) -> None:
    # PostgreSQL alters no table whose rows it still has to check.
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    for table in TABLES:
        cursor.execute(f"ALTER TABLE {table} {verb} TRIGGER USER")


@pytest.fixture(autouse=True, scope="session")
def _let_tests_empty_tables() -> Iterator[None]:
    """Let Django empty all tables, even the audit log's, after a test with real transactions."""

    def empty_and_begin_anew(self: TransactionTestCase) -> None:
        with triggers_off():
            _delete_all_rows()
        migration.start_audit_log(apps, connection.schema_editor())

    with pytest.MonkeyPatch.context() as patch, ExitStack() as until_the_end:
        if connection.vendor == "postgresql":
            patch.setattr(TransactionTestCase, "_fixture_teardown", empty_and_begin_anew)
        else:
            _restore_a_copy_instead(patch, until_the_end)
        yield


def _delete_all_rows() -> None:
    """In a tenth of the time that PostgreSQL needs for Django's TRUNCATE of small tables."""
    # Django would make the same rows of these two again.
    kept = {ContentType._meta.db_table, Permission._meta.db_table}
    # These say which migrations the database has.
    kept.add(AppliedMigration._meta.db_table)
    tables = set(connection.introspection.django_table_names(only_existing=True)) - kept
    # References are checked at the end of the transaction.
    with transaction.atomic(), connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names


def _restore_a_copy_instead(patch: pytest.MonkeyPatch, until_the_end: ExitStack) -> None:
    """On SQLite, restore the state from before the first of these tests, which is faster."""
    set_up = vars(TransactionTestCase)["_fixture_setup"].__func__
    copies: list[sqlite3.Connection] = []

    def set_up_and_copy(cls: type[TransactionTestCase]) -> None:
        set_up(cls)
        if not copies:
            copies.append(until_the_end.enter_context(copy_of_database()))

    def restore(self: TransactionTestCase) -> None:
        restore_database(copies[0])

    patch.setattr(TransactionTestCase, "_fixture_setup", classmethod(set_up_and_copy))
    patch.setattr(TransactionTestCase, "_fixture_teardown", restore)
