"""A plugin of pytest that records which passing tests run which lines of some files.

RECORDED_FILES names the files, one on each line. Every process of pytest-xdist writes what its
tests ran to a file in RECORDING_DIRECTORY. Lines that run in other processes aren't seen.
"""

import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import CodeType

import pytest

_TOOL = 4  # a number that no debugger, profiler or coverage tool uses
_EVENTS = sys.monitoring.events
_FILES = {str(Path.cwd() / path): path for path in os.environ.get("RECORDED_FILES", "").split("\n")}
_lines: set[str] = set()
_not_passed: set[str] = set()
_recorded: list[dict[str, object]] = []


def _watch_lines(code: CodeType, _offset: int) -> object:
    if code.co_filename in _FILES:
        sys.monitoring.set_local_events(_TOOL, code, _EVENTS.LINE)
    return sys.monitoring.DISABLE


def _add_line(code: CodeType, line: int) -> object:
    _lines.add(f"{_FILES[code.co_filename]}:{line}")
    return sys.monitoring.DISABLE


def pytest_configure() -> None:
    """Begin to watch the functions of the files."""
    sys.monitoring.use_tool_id(_TOOL, "recording")
    sys.monitoring.register_callback(_TOOL, _EVENTS.PY_START, _watch_lines)
    sys.monitoring.register_callback(_TOOL, _EVENTS.LINE, _add_line)
    sys.monitoring.set_events(_TOOL, _EVENTS.PY_START)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record the lines and the duration of one test with its fixtures."""
    _lines.clear()
    sys.monitoring.restart_events()  # `DISABLE` ended those of lines that ran before
    started = time.monotonic()
    result = yield
    seconds = time.monotonic() - started
    if _lines and item.nodeid not in _not_passed:
        _recorded.append({"test": item.nodeid, "seconds": seconds, "lines": sorted(_lines)})
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Leave out tests that fail without a mutant or are skipped."""
    if not report.passed:
        _not_passed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write what the tests of this process ran."""
    path = Path(os.environ["RECORDING_DIRECTORY"]) / f"{os.getpid()}.json"
    path.write_text(json.dumps(_recorded))
