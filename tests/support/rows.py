"""Looking into a shared database from outside, without the product's own code."""

import sqlite3
from contextlib import closing
from typing import Any

import psycopg

from tests.support.databases import SharedDatabase


def rows_of(database: SharedDatabase, query: str) -> list[tuple[Any, ...]]:
    """The rows that one query gives."""
    if database.is_sqlite:
        with closing(sqlite3.connect(database.url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(database.url) as connection:
        return connection.execute(query).fetchall()
