"""Long sweeps over many cases: a test run takes a sample, `./run check --all` takes all of them.

The marker `sweep` is on every test that has cases which only `./run check --all` takes. With
`sweep(every=4)`, a test run takes one in four of its cases; on a module, one in four of the tests
there. Without `every`, the test takes a sample itself. On PostgreSQL, `database(every=4)` does the
same to tests that all depend on the database in one way.

`processes(postgresql=3)`, on a module, takes one in three of its tests with real processes when the
tests run on PostgreSQL; `processes(sqlite=3)`, when they run on SQLite. Races belong to PostgreSQL,
since on SQLite a single lock lets one process write at a time; crashes and stops to SQLite.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

TAKES_ALL = "ALL_FAULTS" in os.environ
ON_POSTGRESQL = "ORGADMIN_TEST_DATABASE_URL" in os.environ
# Each marker, and the argument that says which part of its tests runs.
_KINDS = (
    (("sweep", "every"), ("database", "every"), ("processes", "postgresql"))
    if ON_POSTGRESQL
    else (("sweep", "every"), ("processes", "sqlite"))
)


def sample[T](cases: Iterable[T], *, every: int, start: int = 0) -> Iterator[T]:
    """One in `every` cases, from number `start` on."""
    return iter(cases) if TAKES_ALL else islice(cases, start % every, None, every)


def leave_out_cases(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that a test run doesn't take, except of tests that the command names."""
    named = tuple(argument for argument in config.args if "::" in argument)
    left_out: set[pytest.Item] = set() if TAKES_ALL else set(_not_sampled(items))
    left_out = {item for item in left_out if not item.nodeid.startswith(named)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _not_sampled(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    counts: Counter[str] = Counter()
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if ON_POSTGRESQL and "migrated_directory" in fixtures:
            # It is an SQLite file.
            yield item
            continue
        for kind, argument in _KINDS:
            if kind == "processes" and "shared_database" not in fixtures:
                continue
            for node, marker in item.iter_markers_with_node(kind):
                # A function's marker is on each of its cases.
                place = f"{kind} {node.nodeid.partition('[')[0]}"
                if counts[place] % marker.kwargs.get(argument, 1):
                    yield item
                counts[place] += 1
