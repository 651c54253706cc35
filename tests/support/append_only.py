"""What only tests do to the audit log: empty its tables, or tamper with a copy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import TransactionTestCase

migration = import_module("connections.migrations.0002_database_rules")
SEARCH = "connections_auditevent_search"
TABLES = sorted({rule.table for rule in migration.rules(connection.vendor)})


@contextmanager
def triggers_off() -> Iterator[None]:
    """Disable the triggers meanwhile, as the owner of the database could."""
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
    for table in TABLES:
        cursor.execute(f"ALTER TABLE {table} {verb} TRIGGER USER")


@pytest.fixture(autouse=True, scope="session")
def _let_tests_empty_tables() -> Iterator[None]:
    """Let Django empty every table after a test with real transactions, the audit log's too."""
    empty: Callable[[TransactionTestCase], None] = vars(TransactionTestCase)["_fixture_teardown"]

    def empty_and_begin_anew(self: TransactionTestCase) -> None:
        with triggers_off():
            empty(self)
            if connection.vendor == "sqlite":
                # A table of the index alone, of which Django knows nothing.
                with connection.cursor() as cursor:
                    cursor.execute(f"INSERT INTO {SEARCH} ({SEARCH}) VALUES ('delete-all')")  # noqa: S608 - our own name
        migration.start_audit_log(apps, connection.schema_editor())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_and_begin_anew)
        yield
