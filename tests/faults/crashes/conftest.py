"""Installations whose processes crash tests kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from connections.core.private_files import create_private_text
from connections.crypto.encryption import new_key_ring_text
from tests.faults.crashes.stack import Stack, stack_on
from tests.support.databases import (
    KINDS,
    SharedDatabase,
    copied_postgresql,
    migrate_postgresql,
)
from tests.support.postgres import throw_away_postgresql

MakeStack = Callable[..., Stack]


@pytest.fixture(autouse=True)
def _steps_need_a_database(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    # That of the processes, not the one that pytest-django sets up.
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def make_stack(shared_database: SharedDatabase) -> Iterator[MakeStack]:
    """Make an installation with this many connections; other arguments change its plan."""
    with ExitStack() as until_the_end:

        def make(*, connections: int, **changes: object) -> Stack:
            one = stack_on(shared_database, connections=connections, **changes)
            return until_the_end.enter_context(one)

        yield make


@pytest.fixture
def sqlite(migrated_directory: Path) -> SharedDatabase:
    """A separate database for this test."""
    create_private_text(migrated_directory / "keyring.json", new_key_ring_text())
    path = migrated_directory / "orgadmin.sqlite3"
    return SharedDatabase(url=f"sqlite:///{path}", data_dir=migrated_directory)


@pytest.fixture(scope="session")
def separate_server(
    postgresql_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The URL of a server that a test can stop, and the name of a migrated database."""
    directory = tmp_path_factory.mktemp("template")
    with throw_away_postgresql() as url:
        migrate_postgresql(url, "template", data_dir=directory)
        yield url, "template"


@pytest.fixture
def postgresql(separate_server: tuple[str, str], tmp_path: Path) -> Iterator[SharedDatabase]:
    """A database for this test, on a server that it can stop."""
    create_private_text(tmp_path / "keyring.json", new_key_ring_text())
    url, name = separate_server
    with copied_postgresql(url, template=name, data_dir=tmp_path) as database:
        yield database


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest) -> SharedDatabase:
    """A database that can be made unavailable."""
    database: SharedDatabase = request.getfixturevalue(request.param)
    return database
