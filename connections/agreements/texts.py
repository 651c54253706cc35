"""What agreements, and the reasons why a connection isn't agreed, are called."""

from datetime import date

from connections.agreements.setting import AgreementsSet
from connections.core.text import format_day, pluralize

# An end in so many days is soon, and then urgent.
DAYS_SOON, DAYS_URGENT = 30, 3


def result_text(result: AgreementsSet) -> str:
    """What was saved: "Saved 3 agreements. 2 already said the same."."""
    parts = []
    if result.new:
        parts.append(f"Saved {pluralize(len(result.new), 'agreement')}.")
    if result.unchanged:
        parts.append(f"{len(result.unchanged):,} already said the same.")
    return " ".join(parts)


def end_text(ends_on: date, *, today: date) -> str:
    """The last day of an agreement: "today", "in 12 days" up to 30 days ahead, or "30 Jun 2027"."""
    days = (ends_on - today).days
    if days == 0:
        return "today"
    if 0 < days <= DAYS_SOON:
        return f"in {pluralize(days, 'day')}"
    return format_day(ends_on)


def is_end_urgent(ends_on: date, *, today: date) -> bool:
    """Whether the last day has passed or is at most 3 days away."""
    return (ends_on - today).days <= DAYS_URGENT
