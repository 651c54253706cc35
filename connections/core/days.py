"""Counts rows per day, from a limited number of the newest rows.

The database does the grouping: converting a thousand times in Python takes longer than the rest of
a page.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Func, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler

MAX_DAYS = 31


class UtcDay(Func):
    """The day of a time in UTC, as text: 2026-01-31."""

    output_field = CharField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """SQLite stores times as UTC text that starts with the day."""
        return self.as_sql(compiler, connection, template="SUBSTR(%(expressions)s, 1, 10)")

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Converts to UTC first, because the connection can have another time zone."""
        template = "TO_CHAR(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        return self.as_sql(compiler, connection, template=template)


@dataclass(frozen=True, kw_only=True)
class DailyCount:
    """One day in UTC, with its number of rows of each kind."""

    date: date
    counts: Counter[str]


@dataclass(frozen=True, kw_only=True)
class DailyCounts:
    """Consecutive days up to the newest row's day, oldest first. At most 31."""

    days: tuple[DailyCount, ...]
    # How many rows were read.
    row_count: int
    # Whether rows before the first day match too.
    has_older: bool


def daily_counts(rows: Iterable[tuple[str, str, int]], *, limit: int) -> DailyCounts:
    """The days of `rows`, which are (day, kind, count) for the newest matching rows.

    If `limit` rows were read, the oldest day might be incomplete. It is then left out unless it is
    the only one.
    """
    counts: dict[date, Counter[str]] = {}
    for day, kind, count in rows:
        counts.setdefault(date.fromisoformat(day), Counter())[kind] += count
    row_count = sum(count.total() for count in counts.values())
    if not counts:
        return DailyCounts(days=(), row_count=0, has_older=False)
    oldest, newest = min(counts), max(counts)
    is_cut = row_count >= limit
    first = oldest + timedelta(days=1) if is_cut and oldest < newest else oldest
    first = max(first, newest - timedelta(days=MAX_DAYS - 1))
    span = (newest - first).days + 1
    days = (first + timedelta(days=number) for number in range(span))
    return DailyCounts(
        days=tuple(DailyCount(date=day, counts=counts.get(day, Counter())) for day in days),
        row_count=row_count,
        has_older=is_cut or oldest < first,
    )


def count_newest_by_day[M: Model](
    parts: Iterable[QuerySet[M]], *, time: str, kinds: tuple[str, ...], limit: int
) -> list[tuple[Any, ...]]:
    """(day, the values of `kinds`…, count) of the newest `limit` rows of all parts.

    Each part is sorted newest first by the field `time`. A row in several parts counts once.
    """
    pieces: list[str] = []
    values: list[Any] = []
    for number, part in enumerate(parts):
        # The primary key keeps otherwise equal rows distinct in the UNION.
        rows = part.annotate(utc_day=UtcDay(time)).values_list("pk", time, "utc_day", *kinds)
        sql, given = rows[:limit].query.sql_with_params()
        pieces.append(f"SELECT * FROM ({sql}) AS part{number}")  # noqa: S608 - Django's own text
        values += given
    newest = f"{' UNION '.join(pieces)} ORDER BY 2 DESC LIMIT {limit}"
    group = ", ".join(["utc_day", *kinds])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {group}, COUNT(*) FROM ({newest}) AS newest GROUP BY {group}",  # noqa: S608 - as above
            values,
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
