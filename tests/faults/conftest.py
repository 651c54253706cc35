"""Databases that real processes share, and rows for the table of faults."""

from collections.abc import Callable

import pytest

from tests.support.databases import (
    postgresql_template,
    postgresql_url,
    shared_database,
    sqlite_template,
)

__all__ = ["postgresql_template", "postgresql_url", "shared_database", "sqlite_template"]

Tally = Callable[..., None]


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Add a row to the table: what was tested, on which database, with which fault."""

    def add(*, what: str, database: str, fault: str, cases: int, violations: int) -> None:
        record_property("faults", [what, database, fault, cases, violations])

    return add
