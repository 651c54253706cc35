"""A migrated database that real processes share: SQLite, or PostgreSQL when the tests run on it."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import override_settings

from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.crypto.encryption import new_key_ring_text
from orgadmin.environment import parse_database_url
from tests.support.database_copies import (
    administer,
    database_exists,
    migrated_file,
    one_process_at_a_time,
    template_name,
)
from tests.support.postgres import pooled_by_transaction
from tests.support.processes import clean_environment, manage

# The kind of database in this run, for fixtures: PostgreSQL with `./run test -m database`.
KINDS: list[Any] = (
    [pytest.param("postgresql", marks=pytest.mark.database)]
    if "ORGADMIN_TEST_DATABASE_URL" in os.environ
    else ["sqlite"]
)


@dataclass(frozen=True, kw_only=True)
class SharedDatabase:
    """A migrated database and the data directory with its key ring, shared by processes."""

    url: str
    data_dir: Path

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    def environment(self, **more: str) -> dict[str, str]:
        """What a process needs to work on this database."""
        secret = {"SECRET_KEY": "only-for-tests-" + "x" * 50}
        return clean_environment(data_dir=self.data_dir, DATABASE_URL=self.url, **secret) | more

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let the test's own process use it, with its keys."""
        parsed = parse_database_url(self.url)
        options = django_settings.DATABASES["default"]["OPTIONS"] | parsed.get("OPTIONS", {})
        keys = override_settings(
            KEYRING_FILE=self.data_dir / "keyring.json",
            SIGNING_KEY_FILE=self.data_dir / "signing_key.json",
        )
        with keys, using_database(NAME=parsed["NAME"], OPTIONS=options):
            yield


@contextmanager
def using_database(**changes: Any) -> Iterator[None]:
    """Let the database with these settings be the default one, also in new threads."""
    shared = connections["default"]
    before = connections.settings["default"]
    # A copy: a connection refers to its settings and closes only if they name a file, and the
    # thread of a request can end after this block.
    connections.settings["default"] = before | changes
    own = connections.create_connection("default")
    connections["default"] = own
    try:
        yield
    finally:
        own.close()
        connections.settings["default"] = before
        connections["default"] = shared


@pytest.fixture(scope="session")
def sqlite_template(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, for tests to copy. All test processes share it."""
    path = migrated_file()
    if not path.exists():
        directory = tmp_path_factory.mktemp("template")
        done = manage("migrate", "--verbosity=0", env=clean_environment(data_dir=directory))
        assert done.returncode == 0, done.stderr
        shutil.move(directory / "orgadmin.sqlite3", path)
    return path


@pytest.fixture
def migrated_directory(tmp_path: Path, sqlite_template: Path) -> Path:
    """The test's directory, as the data directory after `migrate`."""
    shutil.copy(sqlite_template, tmp_path / "orgadmin.sqlite3")
    create_private_text(tmp_path / "secret_key", Secret("only-for-tests-" + "x" * 50))
    return tmp_path


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    """The PostgreSQL server that the tests run on. Skips the test on SQLite."""
    url = os.environ.get("ORGADMIN_TEST_DATABASE_URL")
    if url is None:
        pytest.skip("ORGADMIN_TEST_DATABASE_URL isn't set")
    return url


@pytest.fixture(scope="session")
def postgresql_template(
    django_db_setup: None, postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a migrated PostgreSQL database that all test processes copy."""
    name = template_name()
    with one_process_at_a_time():
        if not database_exists(postgresql_url, name):
            migrate_postgresql(postgresql_url, name, data_dir=tmp_path_factory.mktemp("template"))
    return name


@pytest.fixture(scope="session")
def pooled_url(postgresql_url: str) -> Iterator[str]:
    """The server that the tests run on, through PgBouncer, which pools transactions."""
    with pooled_by_transaction(postgresql_url) as url:
        yield url


@pytest.fixture(params=KINDS)
def shared_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedDatabase]:
    """A separate migrated, empty database for this test. PostgreSQL is behind a pool."""
    create_private_text(tmp_path / "keyring.json", new_key_ring_text())
    if request.param == "sqlite":
        path = request.getfixturevalue("migrated_directory") / "orgadmin.sqlite3"
        yield SharedDatabase(url=f"sqlite:///{path}", data_dir=tmp_path)
        return
    server = request.getfixturevalue("postgresql_url")
    template = request.getfixturevalue("postgresql_template")
    pool = request.getfixturevalue("pooled_url")
    with copied_postgresql(server, template=template, data_dir=tmp_path) as database:
        yield replace(database, url=url_of(pool, database.url.partition("?")[0].rpartition("/")[2]))


def migrate_postgresql(server: str, name: str, *, data_dir: Path) -> SharedDatabase:
    """Create a migrated database on this server."""
    administer(server, "CREATE DATABASE {name}", name=name)
    created = SharedDatabase(url=url_of(server, name), data_dir=data_dir)
    done = manage("migrate", "--verbosity=0", env=created.environment())
    assert done.returncode == 0, done.stderr
    return created


@contextmanager
def copied_postgresql(server: str, *, template: str, data_dir: Path) -> Iterator[SharedDatabase]:
    """Copy a database of this server."""
    name = f"shared_{secrets.token_hex(6)}"
    administer(server, "CREATE DATABASE {name} TEMPLATE {template}", name=name, template=template)
    yield SharedDatabase(url=url_of(server, name), data_dir=data_dir)
    administer(server, "DROP DATABASE {name} WITH (FORCE)", name=name)


def url_of(server: str, name: str) -> str:
    """The URL of another database of this server."""
    address, _, query = server.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{query}"
