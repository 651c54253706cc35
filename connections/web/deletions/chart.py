"""The chart of the filtered deletions: a bar for each week or month."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from django.http import HttpRequest

from connections.access.actor import Actor
from connections.deletions.history import HistoryFilter, count_by_day
from connections.deletions.status import OutcomeGroup, statuses_in
from connections.web.deletions.bars import BarPart, bar_parts
from connections.web.framework.lists import list_url

# A longer period is shown by month.
MAX_WEEKS = 26


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One week or month. `counts` are those of the chart's series."""

    label: str
    # The list of its deletions.
    url: str
    parts: list[BarPart]
    counts: list[int]
    total: int


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Deletions by week or month, oldest first."""

    unit: str
    # Each with the address that shows only it or, if it is alone, all of them.
    series: list[tuple[BarPart, str, bool]]
    bars: list[Bar]
    total: int
    # The upper end of the axis, an even number.
    top: int


def build_chart(request: HttpRequest, *, actor: Actor, filters: HistoryFilter) -> Chart:
    """The chart of the deletions that match, one bar for each week or month since the first."""
    by_day = count_by_day(actor=actor, filters=filters)
    days = sorted({day for day, _ in by_day})
    is_monthly = bool(days) and days[-1] - days[0] > timedelta(weeks=MAX_WEEKS)
    by_start: dict[date, Counter[OutcomeGroup]] = {
        start: Counter() for start in _starts(days, is_monthly=is_monthly)
    }
    for (day, group), count in by_day.items():
        by_start[_start_of(day, is_monthly=is_monthly)][group] += count
    totals = bar_parts(sum(by_start.values(), Counter()))
    highest = max((counts.total() for counts in by_start.values()), default=0)
    return Chart(
        unit="month" if is_monthly else "week",
        series=[_series(request, part) for part in totals],
        bars=[
            Bar(
                label=f"{start:%B %Y}" if is_monthly else f"{start.day} {start:%b %Y}",
                url=list_url(
                    request,
                    view="",
                    period="",
                    since=f"{start}",
                    until=f"{_next(start, is_monthly=is_monthly) - timedelta(days=1)}",
                ),
                parts=bar_parts(counts),
                counts=[counts[part.group] for part in totals],
                total=counts.total(),
            )
            for start, counts in by_start.items()
        ],
        total=sum(part.count for part in totals),
        top=_top(highest),
    )


def _series(request: HttpRequest, part: BarPart) -> tuple[BarPart, str, bool]:
    statuses = statuses_in(part.group)
    is_alone = set(request.GET.getlist("status")) == set(statuses)
    return part, list_url(request, status=[] if is_alone else statuses), is_alone


def _start_of(day: date, *, is_monthly: bool) -> date:
    return day.replace(day=1) if is_monthly else day - timedelta(days=day.weekday())


def _next(start: date, *, is_monthly: bool) -> date:
    if not is_monthly:
        return start + timedelta(weeks=1)
    return (start + timedelta(days=31)).replace(day=1)


def _starts(days: list[date], *, is_monthly: bool) -> Iterator[date]:
    """The first days of all weeks or months from the first to the last of these days."""
    if not days:
        return
    start = _start_of(days[0], is_monthly=is_monthly)
    while start <= days[-1]:
        yield start
        start = _next(start, is_monthly=is_monthly)


def _top(highest: int) -> int:
    """The smallest of 2, 4, 6, 8, 10, 20, 40, … that isn't less."""
    unit = 1
    while highest > 10 * unit:
        unit *= 10
    return next(top for factor in (2, 4, 6, 8, 10) if (top := factor * unit) >= highest)
