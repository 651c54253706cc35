"""Consistent reads, and what database errors mean."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import QuerySet


@contextmanager
def consistent_read() -> Iterator[None]:
    """Make all reads inside see the same state of the database. Does not block writers."""
    if connection.vendor == "postgresql":
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
        return
    with connection.cursor() as cursor:
        # `atomic` would begin an immediate transaction, which blocks writers.
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def read_in_chunks[Row](rows: QuerySet[Any, Row], *, key: str, chunk_size: int) -> Iterator[Row]:
    """The rows in ascending order of a unique field, without loading all of them.

    Each chunk is its own query, which can use `prefetch_related`. Unlike `QuerySet.iterator`, this
    needs no server-side cursor: see DISABLE_SERVER_SIDE_CURSORS in `orgadmin/settings.py`. Outside
    a consistent read, a later chunk includes what was stored since the first.
    """
    ordered = rows.order_by(key)
    chunk = list(ordered[:chunk_size])
    while chunk:
        yield from chunk
        last = getattr(chunk[-1], key)
        chunk = list(ordered.filter(**{f"{key}__gt": last})[:chunk_size])


class MissingDatabaseError(Exception):
    """The SQLite database is gone."""


def require_sqlite_database() -> None:
    """Raise MissingDatabaseError if SQLite's file is missing, or new and empty because it was.

    Never raises for PostgreSQL, whose server can come back.
    """
    if connection.vendor != "sqlite":
        return
    path = connection.settings_dict["NAME"]
    try:
        is_there = bool(connection.introspection.table_names())
    except DatabaseError:
        is_there = os.path.exists(path)
    if not is_there:
        raise MissingDatabaseError(
            f"The database {path} is gone or empty. Restore a backup (docs/OPERATIONS.md), or run "
            "`./run manage migrate` to create it."
        )


def skip_locked[Rows: QuerySet[Any, Any]](rows: Rows) -> Rows:
    """Lock these rows, leaving out those that another transaction has locked.

    SQLite has no locked rows: a transaction locks the whole database.
    """
    if connection.features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True, no_key=True)
    return rows


def count_each(*counted: QuerySet[Any, Any]) -> list[int]:
    """How many rows each of these queries finds, in one statement.

    Choose few columns with `values`, and no order.
    """
    columns: list[str] = []
    values: list[Any] = []
    for rows in counted:
        sql, of_query = rows.query.sql_with_params()
        columns.append(f"(SELECT COUNT(*) FROM ({sql}) AS found)")  # noqa: S608 - the ORM's SQL
        values += of_query
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)}", values)
        return list(cursor.fetchone())


def exists_each(*queries: QuerySet[Any, Any]) -> list[bool]:
    """Whether each of these queries finds a row, in one statement.

    The statement is built once in a process, so pass constants of a module.
    """
    sql, values = _existence_statement(queries)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [bool(value) for value in cursor.fetchone()]


@cache
def _existence_statement(queries: tuple[QuerySet[Any, Any], ...]) -> tuple[str, list[Any]]:
    statements = [each.order_by().values("pk").query.sql_with_params() for each in queries]
    columns = [f"EXISTS ({sql})" for sql, _ in statements]
    return f"SELECT {', '.join(columns)}", [value for _, values in statements for value in values]


# SQLite's primary result codes. Extended codes add more above the lowest eight bits.
_SQLITE_CODES = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
# Failed reads say nothing about whether writes work.
_SQLITE_FAILED_TO_READ = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
# PostgreSQL: read_only_sql_transaction and disk_full.
_SQLSTATES = {"25006", "53100"}


def is_unwritable_error(error: BaseException | None) -> bool:
    """Whether this error means that the database accepts no writes at all."""
    if not isinstance(error, DatabaseError):
        return False
    return _sqlite_refuses_writes(error.__cause__) or _sqlstate(error.__cause__) in _SQLSTATES


# The file is damaged, isn't a database, can't be read, or was locked for too long.
_SQLITE_UNUSABLE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
}
# PostgreSQL: connection exceptions, insufficient resources, shutting down, system errors.
_SQLSTATES_WHEN_AWAY = ("08", "53", "57P", "58")


def is_unavailable_error(error: BaseException | None) -> bool:
    """Whether this error means that the database can't be used at all, not even for reading."""
    # Django doesn't translate the driver's errors when a cursor is closed, for example.
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    if isinstance(cause, sqlite3.Error):
        # SQLite creates a missing file, so a lost database looks like one without tables.
        is_empty = str(cause).startswith("no such table")
        return is_empty or _sqlite_code(cause) & 0xFF in _SQLITE_UNUSABLE
    driver: Any = connection.Database  # type: ignore[attr-defined]
    if not isinstance(cause, driver.OperationalError | driver.InterfaceError):
        return False
    # psycopg has no SQLSTATE for a connection that fails or is lost.
    return _sqlstate(cause).startswith(_SQLSTATES_WHEN_AWAY) or not _sqlstate(cause)


def unwritable_text(error: BaseException | None) -> str:
    """Why the database accepts no writes now, as a sentence. Empty if the error doesn't say."""
    cause = error.__cause__ if error else None
    code, state = _sqlite_code(cause) & 0xFF, _sqlstate(cause)
    if code == sqlite3.SQLITE_FULL or state == "53100":
        return "Its disk is full."
    if code == sqlite3.SQLITE_READONLY or state == "25006":
        return "The database is read-only."
    if code == sqlite3.SQLITE_BUSY:
        return "Another process has been writing to it for too long."
    return ""


def is_busy(error: DatabaseError) -> bool:
    """Whether SQLite gave up waiting because another connection is writing."""
    return _sqlite_code(error.__cause__) & 0xFF == sqlite3.SQLITE_BUSY


def _sqlite_refuses_writes(cause: BaseException | None) -> bool:
    code = _sqlite_code(cause)
    return code & 0xFF in _SQLITE_CODES and code not in _SQLITE_FAILED_TO_READ


def _sqlite_code(cause: BaseException | None) -> int:
    return getattr(cause, "sqlite_errorcode", 0) if isinstance(cause, sqlite3.Error) else 0


def _sqlstate(cause: BaseException | None) -> str:
    return getattr(cause, "sqlstate", None) or ""
