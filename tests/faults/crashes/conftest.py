"""Installations whose processes crash tests kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from connections.core.private_files import create_private_text
from connections.crypto.encryption import new_key_ring_text
from tests.faults.crashes.stack import Stack, stack_on
from tests.support.databases import KINDS, SharedDatabase
from tests.support.postgres import throw_away_postgresql
from tests.support.processes import manage

MakeStack = Callable[..., Stack]


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


@pytest.fixture
def postgresql(tmp_path: Path, postgresql_url: str) -> Iterator[SharedDatabase]:
    """A separate server for this test, which it can stop."""
    create_private_text(tmp_path / "keyring.json", new_key_ring_text())
    with throw_away_postgresql() as url:
        database = SharedDatabase(url=url, data_dir=tmp_path)
        done = manage("migrate", "--verbosity=0", env=database.environment())
        assert done.returncode == 0, done.stderr
        yield database


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest) -> SharedDatabase:
    """A database that can be made unavailable."""
    database: SharedDatabase = request.getfixturevalue(request.param)
    return database
