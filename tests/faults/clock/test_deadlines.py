"""Deadlines within a process never use the time of day, which may be set back."""

import ast
from pathlib import Path

import pytest

from tests.support.processes import ROOT

# Functions that return the time of day; recorded times come from `connections.core.clock`.
TIME_OF_DAY = {("time", "time"), ("datetime", "now"), ("datetime", "utcnow"), ("timezone", "now")}
# Not a deadline: when this machine wrote a file.
NO_DEADLINE = {
    ("connections/deletions/spool.py", "datetime.now"),
    ("connections/operations/backup.py", "datetime.now"),
}
FILES = sorted(
    path for part in ("services", "datadog") for path in (ROOT / "connections" / part).rglob("*.py")
)


def calls_in(source: str) -> set[str]:
    """Every call of a function that returns the time of day, as `module.function`."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in TIME_OF_DAY
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_deadline_uses_the_time_of_day(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    allowed = {call for file, call in NO_DEADLINE if file == name}
    assert calls_in(path.read_text()) <= allowed


def test_the_search_finds_calls() -> None:
    source = "time.time(); datetime.now(UTC); timezone.now(); time.monotonic(); clock.now()"
    assert calls_in(source) == {"time.time", "datetime.now", "timezone.now"}
