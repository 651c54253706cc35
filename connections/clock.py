"""The database's clock: the one time that every process on every machine shares."""

from datetime import UTC, datetime

from django.db import connection


def now() -> datetime:
    """The database server's time now, in UTC, not the start of the transaction.

    Deadlines within one process use `time.monotonic()` instead.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0].astimezone(UTC)  # type: ignore[no-any-return]
        cursor.execute("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")
        return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)
