"""Long sweeps over many cases. `./run check --all` takes them all, a test run a sample."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice

TAKES_ALL = "ALL_FAULTS" in os.environ


def sample[T](cases: Iterable[T], *, every: int, start: int = 0) -> Iterator[T]:
    """One in `every` cases, from number `start` on."""
    return iter(cases) if TAKES_ALL else islice(cases, start % every, None, every)
