"""The database's clock: the one time that every process on every machine shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from django.db import connection

# Two clocks that are right may differ by this much. A stored time further ahead than this was
# written by a clock that was wrong, or is read by one that was set back.
TOLERANCE = timedelta(seconds=5)

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


def is_ahead(at: datetime, *, now: datetime) -> bool:
    """Whether a stored time of something that happened lies in the future."""
    return at > now + TOLERANCE


def elapsed_since(at: datetime, *, now: datetime) -> timedelta:
    """How long ago something happened; never negative.

    `timedelta.max` for a time in the future: nobody knows how long ago that really was, so
    nothing may count as recent, claimed or valid because of it.
    """
    return timedelta.max if is_ahead(at, now=now) else max(now - at, timedelta())


def has_passed(deadline: datetime, *, within: timedelta, now: datetime) -> bool:
    """Whether a stored deadline has passed.

    `within` is the longest time for which such a deadline is ever set. One that lies further ahead
    was set by a clock that was ahead, and counts as passed.
    """
    return now >= deadline or is_ahead(deadline - within, now=now)


@contextmanager
def offset(by: timedelta) -> Iterator[None]:
    """Let `now()` be off by so much, in this thread: for the demo's past and for tests alone."""
    token = _shift.set(by)
    try:
        yield
    finally:
        _shift.reset(token)
