"""The database's clock, which all processes on all machines share."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Expression, Func
from django.db.models.sql.compiler import SQLCompiler

# Correct clocks can differ by this much. If a stored time is further in the future, a wrong clock
# wrote it or the clock has been set back since.
TOLERANCE = timedelta(seconds=5)

_shift: ContextVar[timedelta] = ContextVar("clock_shift", default=timedelta())


def now() -> datetime:
    """The database server's current time in UTC, not the start of the transaction.

    Deadlines within one process use `time.monotonic()` instead.
    """
    return _database_time() + _shift.get()


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0].astimezone(UTC)  # type: ignore[no-any-return]
        cursor.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")
        return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)


class _DatabaseTime(Func):
    """The database server's current time as an expression."""

    function = "clock_timestamp"
    output_field = DateTimeField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: object
    ) -> tuple[str, tuple[str | int, ...]]:
        del compiler, connection, extra
        # With microseconds, as Django stores times: SQLite compares them as texts, so the same
        # millisecond without them would count as earlier.
        return "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')", ()


def now_in_query() -> Expression:
    """`now()` as an expression, for a query that runs anyway. Saves a round trip.

    On PostgreSQL, a query that waits for a row lock re-evaluates this only if the lock holder
    changed the row; otherwise it is the time before the wait.
    """
    shift = _shift.get()
    return _DatabaseTime() + shift if shift else _DatabaseTime()


def is_ahead(at: datetime, *, now: datetime) -> bool:
    """Whether the stored time of a past event is in the future."""
    return at > now + TOLERANCE


def elapsed_since(at: datetime, *, now: datetime) -> timedelta:
    """The time since `at`, never negative.

    `timedelta.max` for a time in the future: the real age is unknown, so nothing should count as
    recent, claimed or valid because of it.
    """
    return timedelta.max if is_ahead(at, now=now) else max(now - at, timedelta())


@contextmanager
def offset(by: timedelta) -> Iterator[None]:
    """Shift `now()` in this thread. Used only for the demo's history and for tests."""
    token = _shift.set(by)
    try:
        yield
    finally:
        _shift.reset(token)
