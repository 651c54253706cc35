"""A deletion history and a bundle made of it, both created once."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pytest
from django.db import connection

from connections.audit import checkpoints
from connections.audit.signing import load_signing_key
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.models import Checkpoint, Person
from connections.verifier.ed25519 import is_signed
from connections.verifier.notes import find_signer, require_rotation
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.evidence.support import Made, create_history, make, rotate
from tests.support.database_copies import copy_of_database, restore_database

_MADE: list[Made] = []


@dataclass(frozen=True, kw_only=True)
class History:
    """What `create_history` left: the database, Datadog, and the files with keys."""

    database: sqlite3.Connection
    world: World
    keys: dict[str, str]


@dataclass(kw_only=True)
class Histories:
    """The history, once a test has created it."""

    until_the_end: ExitStack
    created: History | None = None


@pytest.fixture(scope="session")
def histories() -> Iterator[Histories]:
    """No history yet."""
    with ExitStack() as until_the_end:
        yield Histories(until_the_end=until_the_end)


@pytest.fixture
def history(
    transactional_db: None,
    histories: Histories,
    sandbox: SandboxServer,
    key_ring_file: Path,
    ada: Person,
    linus: Person,
    edith: Person,
) -> None:
    """Deletions with attempts: deleted, refused, response lost, and approved and deleted.

    On SQLite, the first test's history is restored for the others.
    """
    past = histories.created
    if past is None:
        create_history(sandbox, ada=ada, linus=linus, many=0)
        if connection.vendor == "sqlite":
            sandbox.world.save_state()
            histories.created = History(
                database=histories.until_the_end.enter_context(copy_of_database()),
                world=sandbox.world,
                keys={path.name: path.read_text() for path in key_ring_file.parent.iterdir()},
            )
        return
    restore_database(past.database)
    for name, text in past.keys.items():
        create_private_text(key_ring_file.with_name(name), Secret(text))
    past.world.reset()
    sandbox.world = past.world
    for person in (ada, linus, edith):
        person.pk = Person.objects.get(username=person.username).pk
        person.refresh_from_db()


@pytest.fixture
def made(request: pytest.FixtureRequest) -> Made:
    """A bundle of 29 deletions, made after a rotation of the key. All tests share it."""
    if not _MADE:
        # Only the first test needs a database.
        request.node.add_marker(pytest.mark.django_db(transaction=True))
        people = {name: request.getfixturevalue(name) for name in ("ada", "linus")}
        create_history(request.getfixturevalue("sandbox"), **people, many=24)
        first = load_signing_key().fingerprint
        checkpoints.make_checkpoint()
        kept = Checkpoint.objects.earliest("size").note
        rotate()
        _MADE.append(replace(make(), first_fingerprint=first, kept=kept))
    return _MADE[0]


@pytest.fixture(autouse=True, scope="session")
def _check_equal_signatures_once() -> Iterator[None]:
    # A forgery leaves most signatures as they were, and each takes the verifier 7 ms.
    cached = lru_cache(maxsize=None)(is_signed)
    with pytest.MonkeyPatch.context() as patch:
        for function in (find_signer, require_rotation):
            assert function.__defaults__ == (is_signed,)
            patch.setattr(function, "__defaults__", (cached,))
        yield
