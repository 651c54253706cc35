"""The database of a run is migrated once. On SQLite it is in memory and copied in milliseconds."""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_modify_db_settings: None) -> None:
    """Set up the database. Only the first of all test processes of a run migrates it."""
    with one_process_at_a_time():
        if settings.DATABASE_IS_SQLITE:
            _set_up_sqlite(request)
        else:
            _set_up_postgresql(request)


@contextmanager
def one_process_at_a_time() -> Iterator[None]:
    """Let the run's other test processes wait while this one makes what they share."""
    with migrated_file().with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_up_sqlite(request: pytest.FixtureRequest) -> None:
    path = migrated_file()
    creation: Any = connection.creation
    with closing(sqlite3.connect(creation._get_test_db_name(), uri=True)) as in_memory:
        if path.exists():
            with closing(sqlite3.connect(path)) as migrated:
                migrated.backup(in_memory)
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


def _set_up_postgresql(request: pytest.FixtureRequest) -> None:
    server, name = os.environ["ORGADMIN_TEST_DATABASE_URL"], template_name()
    exists = database_exists(server, name)
    if exists:
        connection.settings_dict["TEST"]["TEMPLATE"] = name
    own_name = connection.settings_dict["NAME"]
    request.getfixturevalue("django_db_setup")
    was_migrated = connection.settings_dict["NAME"] != own_name
    if was_migrated and not exists:
        connection.close()
        copied = connection.settings_dict["NAME"]
        administer(server, "CREATE DATABASE {name} TEMPLATE {copied}", name=name, copied=copied)


def template_name() -> str:
    """The run's PostgreSQL database with these migrations, which `django_db_setup` makes."""
    return f"template_{hashlib.sha256(bytes(migrated_file())).hexdigest()[:16]}"


def database_exists(server: str, name: str) -> bool:
    """Whether this PostgreSQL server has the database."""
    with psycopg.connect(server) as asked:
        found = asked.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        return found.fetchone() is not None


def administer(server: str, statement: str, **names: str) -> None:
    """Run a statement that contains names on a PostgreSQL server."""
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    with psycopg.connect(server, autocommit=True) as own:
        own.execute(sql.SQL(statement).format(**identifiers))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Drop the template at the end of the run."""
    server = os.environ.get("ORGADMIN_TEST_DATABASE_URL")
    if server and not hasattr(config, "workerinput"):
        administer(server, "DROP DATABASE IF EXISTS {name}", name=template_name())


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
