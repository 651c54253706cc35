"""Installations whose processes crash tests kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.crashes.stack import Stack, stack_on
from tests.support.databases import SharedDatabase

MakeStack = Callable[..., Stack]


@pytest.fixture
def make_stack(shared_database: SharedDatabase) -> Iterator[MakeStack]:
    """Make an installation with this many connections; other arguments change its plan."""
    with ExitStack() as until_the_end:

        def make(*, connections: int, **changes: object) -> Stack:
            one = stack_on(shared_database, connections=connections, **changes)
            return until_the_end.enter_context(one)

        yield make
