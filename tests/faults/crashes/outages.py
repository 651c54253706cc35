"""Makes the database of an installation unavailable for a while."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

from tests.faults.crashes.stack import Stack
from tests.support.postgres import stopped

Outage = Callable[[str], AbstractContextManager[None]]


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another process holds SQLite's write lock for longer than the product waits for it."""
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def outage_of(stack: Stack) -> AbstractContextManager[None]:
    make_unavailable: Outage = locked if stack.database.is_sqlite else stopped
    return make_unavailable(stack.database.url)
