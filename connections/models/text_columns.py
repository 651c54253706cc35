"""Columns as text, for queries that read a row for each of ten thousand connections.

Making Python's objects of their IDs, times and data types takes Django longer than the query. Such
queries read these columns as text, and what a page shows of it is converted one by one.
"""

import json
from functools import lru_cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, QuerySet, StringAgg, TextField, Value
from django.db.models.sql.compiler import SQLCompiler

from connections.models.org_connections import OrgConnectionKey

# A connection's site and its ID as HexId.
type HexKey = tuple[str, str]


class AsText(Func):
    """A column as text: as SQLite stores it, and as PostgreSQL writes it."""

    template = "%(expressions)s"
    on_postgresql = "(%(expressions)s)::text"
    arity = 1

    def __init__(self, column: str) -> None:
        super().__init__(column, output_field=TextField())

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> Any:
        """The SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template=self.on_postgresql, **context)


class HexId(AsText):
    """An ID column as `UUID.hex`, which is how SQLite stores it."""

    on_postgresql = "replace((%(expressions)s)::text, '-', '')"


# Between the columns of a row, and between rows. No name or ID contains either.
SEPARATOR, ROW_SEPARATOR = "\x1f", "\x1e"


class JoinedText(Func):
    """The columns of a row as one text."""

    template = "(%(expressions)s)"
    arg_joiner = f" || '{SEPARATOR}' || "
    output_field = TextField()


def read_joined(rows: QuerySet[Any], *columns: Any) -> list[str]:
    """The columns of each row as one text, in any order.

    The database joins them, because the rows of a result take several times as long.
    """
    joined = StringAgg(JoinedText(*columns), delimiter=Value(ROW_SEPARATOR))
    text: str | None = rows.aggregate(text=joined)["text"]
    return text.split(ROW_SEPARATOR) if text else []


# What a ListedConnection always has.
CONNECTION_COLUMNS: tuple[str | AsText, ...] = (
    "site",
    HexId("connection_id"),
    "id",
    *("source_org_id", "source_org_name", "sink_org_id", "sink_org_name"),
    AsText("connection_types"),
    "creator_name",
)


def hex_key(key: OrgConnectionKey) -> HexKey:
    """The key of a connection in rows with a HexId."""
    return key.site, key.connection_id.hex


@lru_cache(maxsize=1000)
def parse_types(text: str) -> list[str]:
    """The data types in a JSON array. The list is shared, so don't change it."""
    types: list[str] = json.loads(text)
    return types
