"""Read a shared database directly, without the product's code."""

import sqlite3
from contextlib import closing
from typing import Any

import psycopg

from tests.support.databases import SharedDatabase


def rows_of(database: SharedDatabase, query: str) -> list[tuple[Any, ...]]:
    """The rows of one query."""
    if database.is_sqlite:
        with closing(sqlite3.connect(database.url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(database.url) as connection:
        return connection.execute(query).fetchall()
