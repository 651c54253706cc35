"""A clock that a test controls."""

from datetime import UTC, datetime, timedelta

from django.db.models import DateTimeField, Expression, Value


class SettableClock:
    """Replaces the database's time in `connections.core.clock`; `at` is what it returns."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 14, 3, 22, tzinfo=UTC)

    def now(self) -> datetime:
        """The current time of this clock."""
        return self.at

    def now_in_query(self) -> Expression:
        """The time of this clock as an expression."""
        return Value(self.at, output_field=DateTimeField())

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        """Advance the clock by this much."""
        self.at += timedelta(seconds=seconds, minutes=minutes, hours=hours)
