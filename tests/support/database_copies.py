"""Copies of the tests' SQLite database, which is in memory: made and restored in milliseconds."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from django.db import connection


@contextmanager
def copy_of_database() -> Iterator[sqlite3.Connection]:
    """A copy of the database as it is now, for `restore_database`."""
    connection.ensure_connection()
    with closing(sqlite3.connect(":memory:")) as copy:
        connection.connection.backup(copy)
        yield copy


def restore_database(copy: sqlite3.Connection) -> None:
    """Replace everything in the database by the copy."""
    connection.ensure_connection()
    copy.backup(connection.connection)
