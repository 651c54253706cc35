"""Copies of the tests' SQLite database, which is in memory: made and restored in milliseconds."""

import fcntl
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_modify_db_settings: None) -> None:
    """Set up the database. Only the first of all test processes of a run migrates it."""
    if not settings.DATABASE_IS_SQLITE:
        request.getfixturevalue("django_db_setup")
        return
    path = migrated_file()
    creation: Any = connection.creation
    with (
        path.with_suffix(".lock").open("w") as lock,
        closing(sqlite3.connect(creation._get_test_db_name(), uri=True)) as in_memory,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            with closing(sqlite3.connect(path)) as migrated:
                migrated.backup(in_memory)
            fcntl.flock(lock, fcntl.LOCK_UN)
        request.getfixturevalue("django_db_setup")
        # pytest-django migrates nothing if no test of the run has the mark `django_db`.
        was_migrated = in_memory.execute("SELECT 1 FROM sqlite_master").fetchone()
        if was_migrated and not path.exists():
            unfinished = path.with_suffix(".unfinished")
            with closing(sqlite3.connect(unfinished)) as migrated:
                in_memory.backup(migrated)
                migrated.execute("PRAGMA journal_mode=WAL")
            unfinished.chmod(0o600)
            unfinished.rename(path)


def migrated_file() -> Path:
    """The run's SQLite file with these migrations, which `django_db_setup` makes."""
    digest = hashlib.sha256()
    # The migrations call functions of the models' package.
    for package in ("migrations", "models"):
        for path in sorted((ROOT / "connections" / package).glob("*.py")):
            digest.update(path.read_bytes())
    return Path(settings.DATA_DIR) / f"migrated-{digest.hexdigest()[:16]}.sqlite3"


@contextmanager
def copy_of_database() -> Iterator[sqlite3.Connection]:
    """A copy of the database as it is now, for `restore_database`."""
    connection.ensure_connection()
    with closing(sqlite3.connect(":memory:")) as copy:
        connection.connection.backup(copy)
        yield copy


def restore_database(copy: sqlite3.Connection) -> None:
    """Replace everything in the database by the copy."""
    connection.ensure_connection()
    copy.backup(connection.connection)
