"""Data for the chart components: stacked bars, and the same numbers as a table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from connections.core.days import DailyCounts
from connections.deletions.history import OutcomeGroup


@dataclass(frozen=True, kw_only=True)
class Series:
    """One color of a chart."""

    key: str
    label: str
    tone: str


OUTCOME_SERIES = (
    Series(key=OutcomeGroup.DELETED, label="Deleted", tone="ok"),
    Series(key=OutcomeGroup.GONE, label="Gone or not found", tone="info"),
    Series(key=OutcomeGroup.REFUSED, label="Failed", tone="danger"),
    Series(key=OutcomeGroup.NOTHING_SENT, label="Not sent", tone="muted"),
    Series(key=OutcomeGroup.UNKNOWN, label="Unknown", tone="unknown"),
    Series(key=OutcomeGroup.OPEN, label="Open", tone="warn"),
)


@dataclass(frozen=True, kw_only=True)
class BarPart:
    """One color of a stacked bar. `start` is the sum of the parts before it."""

    series: Series
    start: int
    count: int


def bar_parts(counts: Counter[Any], *, series: tuple[Series, ...]) -> list[BarPart]:
    """The parts of a bar that aren't empty."""
    parts, start = [], 0
    for color in series:
        count = counts[color.key]
        if count:
            parts.append(BarPart(series=color, start=start, count=count))
            start += count
    return parts


def build_chart(
    *,
    label: str,
    first_column: str,
    series: tuple[Series, ...],
    rows: Iterable[tuple[date, str, Counter[Any]]],
) -> dict[str, Any]:
    """The arguments of components/chart.html.

    A row has its first day, its bar's title and its counts.
    """
    rows = list(rows)
    totals = {color.key: sum(counts[color.key] for _, _, counts in rows) for color in series}
    used = [color for color in series if totals[color.key]]
    return {
        "label": label,
        "first_column": first_column,
        "max": max((counts.total() for _, _, counts in rows), default=0) or 1,
        "bars": [
            (f"{title}: {counts.total():,}", bar_parts(counts, series=series))
            for _, title, counts in rows
        ],
        "total": sum(totals.values()),
        "series": [(color, totals[color.key]) for color in used],
        "rows": [
            (at, [counts[color.key] for color in used], counts.total()) for at, _, counts in rows
        ],
    }


def build_day_chart(
    days: DailyCounts | None, *, what: str, series: tuple[Series, ...]
) -> dict[str, Any] | None:
    """The chart of some days, labeled with its period. None if there are no days."""
    if days is None or not days.days:
        return None
    first, last = days.days[0].date, days.days[-1].date
    period = _day(last) if first == last else f"{_day(first)} to {_day(last)}"
    built = build_chart(
        label=f"{what} per day, {period}, UTC",
        first_column="Day",
        series=series,
        rows=((day.date, _day(day.date), day.counts) for day in days.days),
    )
    built["note"] = "The chart doesn't show older ones." if days.has_older else ""
    return built


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
