"""Counting in months."""

from calendar import monthrange
from datetime import date


def months_after[D: date](start: D, months: int) -> D:
    """The same day so many months later; in a month that lacks it, the last day of that month.

    After the last year that there is, the last day of that year.
    """
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if year > date.max.year:
        return start.replace(year=date.max.year, month=12, day=31)
    last_day = monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last_day))
