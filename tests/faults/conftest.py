"""Rows for the table of faults."""

from collections.abc import Callable

import pytest

Tally = Callable[..., None]


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Add a row to the table: what was tested, on which database, with which fault."""

    def add(*, what: str, database: str, fault: str, cases: int, violations: int) -> None:
        record_property("faults", [what, database, fault, cases, violations])

    return add
