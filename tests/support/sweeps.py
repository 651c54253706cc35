"""Long sweeps over many cases. `./run check --all` takes them all, a test run a sample."""

import os
from collections.abc import Sequence

TAKES_ALL = "ALL_FAULTS" in os.environ


def sample[T](cases: Sequence[T], *, every: int, start: int = 0) -> Sequence[T]:
    """One in `every` cases, from number `start` on."""
    return cases if TAKES_ALL else cases[start % every :: every]
