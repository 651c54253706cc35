"""A deletion history and a bundle made of it."""

from dataclasses import replace

import pytest

from connections.audit import checkpoints
from connections.audit.signing_key import load_signing_key
from connections.models import Checkpoint, Person
from sandbox.server import SandboxServer
from tests.evidence.support import Made, create_history, make, rotate

_MADE: list[Made] = []


@pytest.fixture
def history(
    transactional_db: None, sandbox: SandboxServer, ada: Person, linus: Person, edith: Person
) -> None:
    """Five deletions."""
    create_history(sandbox, ada=ada, linus=linus, many=0)


@pytest.fixture
def made(transactional_db: None, request: pytest.FixtureRequest) -> Made:
    """A bundle of 29 deletions, after a rotation of the key; the same for every test."""
    if not _MADE:
        people = {name: request.getfixturevalue(name) for name in ("ada", "linus")}
        create_history(request.getfixturevalue("sandbox"), **people, many=24)
        first = load_signing_key().fingerprint
        checkpoints.make_checkpoint()
        kept = Checkpoint.objects.earliest("size").note
        rotate()
        _MADE.append(replace(make(), first_fingerprint=first, kept=kept))
    return _MADE[0]
