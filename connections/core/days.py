"""How much happened on each day, from the newest of many rows: a bounded look, never a count.

The database puts the rows into days: turning a thousand times of day into Python's takes longer
than all the rest of a page.
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

MOST_DAYS = 31


class UtcDay(Func):
    """The day of a time in UTC, as text: 2026-01-31."""

    output_field = CharField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Times are stored as text in UTC, which begins with the day."""
        return self.as_sql(compiler, connection, template="SUBSTR(%(expressions)s, 1, 10)")

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Whatever the time zone of the connection is."""
        template = "TO_CHAR(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
        return self.as_sql(compiler, connection, template=template)


@dataclass(frozen=True, kw_only=True)
class DailyCount:
    """One day in UTC, and how much of each kind it held."""

    date: date
    counts: Counter[str]


@dataclass(frozen=True, kw_only=True)
class DailyCounts:
    """The days up to the newest row's, oldest first, without a gap; at most 31."""

    days: tuple[DailyCount, ...]
    # How many rows were looked at.
    last_checked_at: int
    # Whether rows from before the first day pass the filter too.
    has_older: bool


def by_day(rows: Iterable[tuple[str, str, int]], *, limit: int) -> DailyCounts:
    """Days from rows (day, kind, how many): the newest of all that pass.

    When as many as `limit` were looked at there may be more, so the oldest day is left out,
    unless it is the only one.
    """
    counts: dict[date, Counter[str]] = {}
    for day, kind, count in rows:
        counts.setdefault(date.fromisoformat(day), Counter())[kind] += count
    last_checked_at = sum(each.total() for each in counts.values())
    if not counts:
        return DailyCounts(days=(), last_checked_at=0, has_older=False)
    oldest, newest = min(counts), max(counts)
    is_cut = last_checked_at >= limit
    first = oldest + timedelta(days=1) if is_cut and oldest < newest else oldest
    first = max(first, newest - timedelta(days=MOST_DAYS - 1))
    span = (newest - first).days + 1
    days = (first + timedelta(days=number) for number in range(span))
    return DailyCounts(
        days=tuple(DailyCount(date=day, counts=counts.get(day, Counter())) for day in days),
        last_checked_at=last_checked_at,
        has_older=is_cut or oldest < first,
    )


def grouped_newest[M: Model](
    parts: Iterable[QuerySet[M]], *, time: str, kinds: tuple[str, ...], limit: int
) -> list[tuple[Any, ...]]:
    """(day, the values of `kinds`…, how many) of the newest `limit` rows of all parts.

    Each part is newest first by the field `time`; a row that several hold counts once.
    """
    pieces: list[str] = []
    values: list[Any] = []
    for number, part in enumerate(parts):
        # The key tells rows apart that are alike otherwise.
        rows = part.annotate(utc_day=UtcDay(time)).values_list("pk", time, "utc_day", *kinds)
        sql, given = rows[:limit].query.sql_with_params()
        pieces.append(f"SELECT * FROM ({sql}) AS part{number}")  # noqa: S608 - Django's own text
        values += given
    if not pieces:
        return []
    united = " UNION ".join(pieces)
    if len(pieces) > 1:
        united = f"SELECT * FROM ({united}) AS united ORDER BY 2 DESC LIMIT {limit}"  # noqa: S608 - as above
    group = ", ".join(["utc_day", *kinds])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {group}, COUNT(*) FROM ({united}) AS newest GROUP BY {group}",  # noqa: S608 - as above
            values,
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
