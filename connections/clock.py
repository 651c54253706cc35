"""The database's clock: the one time that every process on every machine shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from django.db import connection

_shift: ContextVar[timedelta] = ContextVar("clock_shift", default=timedelta())


def now() -> datetime:
    """The database server's time now, in UTC, not the start of the transaction.

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


@contextmanager
def shifted(by: timedelta) -> Iterator[None]:
    """Let `now()` be off by so much, in this thread: for the demo's past and for tests alone."""
    token = _shift.set(by)
    try:
        yield
    finally:
        _shift.reset(token)
