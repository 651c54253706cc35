"""Databases and directories that really refuse writes."""

import ctypes
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.db import connection

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1


@contextmanager
def read_only_database() -> Iterator[None]:
    """Make this connection refuse every write. Needs a test with real transactions."""
    is_sqlite = connection.vendor == "sqlite"
    switch = "PRAGMA query_only = {}" if is_sqlite else "SET default_transaction_read_only = {}"
    with connection.cursor() as cursor:
        cursor.execute(switch.format("on"))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(switch.format("off"))


def no_space() -> None:
    """Limit the process's files to 32 KiB, which SQLite's shared memory needs."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, 32 * 1024))


@contextmanager
def grown_log(database: Path) -> Iterator[None]:
    """Make the write-ahead log longer than 32 KiB, so that the next write has to extend it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE padding (text)")
        writer.execute("INSERT INTO padding VALUES (zeroblob(65536))")
        writer.execute("DROP TABLE padding")
        yield


def modes_apply() -> None:
    """Make root respect file modes too."""
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


@contextmanager
def read_only_directory(directory: Path) -> Iterator[None]:
    """Make the directory read-only for everyone who respects file modes: see `modes_apply`."""
    directory.chmod(0o500)
    try:
        yield
    finally:
        directory.chmod(0o700)
