"""A plugin of pytest that records which passing tests run which lines of some files.

Every process of pytest-xdist writes what its tests ran to a file in RECORDING_DIRECTORY. The
Python processes that tests start write to one file there, for each file of tests: they import
the sitecustomize.py that `record` puts into the copy of the tree.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.mutations import lines

_DIRECTORY = os.environ.get("RECORDING_DIRECTORY", "")
_lines: set[str] = set()
_not_passed: set[str] = set()
_recorded: list[dict[str, object]] = []
_start: Any = subprocess.Popen.__init__


def _start_watched(self: Any, *arguments: Any, env: Any = None, **options: Any) -> None:
    if env is not None:
        paths = [os.environ["RECORDED_ROOT"], *filter(None, [env.get("PYTHONPATH")])]
        ours = {name: text for name, text in os.environ.items() if name.startswith("RECORDED_")}
        env = dict(env) | ours | {"PYTHONPATH": os.pathsep.join(paths)}
    _start(self, *arguments, env=env, **options)


def pytest_configure() -> None:
    """Begin to watch the files, and the processes that tests start."""
    lines.watch(_lines.add)
    os.environ["RECORDED_ROOT"] = str(Path.cwd())
    os.environ["RECORDED_CHILDREN"] = str(Path(_DIRECTORY).resolve() / "children.txt")
    os.environ["PYTHONPATH"] = str(Path.cwd())
    subprocess.Popen.__init__ = _start_watched  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record the lines and the duration of one test with its fixtures."""
    _lines.clear()
    os.environ["RECORDED_TESTS"] = item.nodeid.partition("::")[0]
    sys.monitoring.restart_events()  # lines that ran before don't report themselves
    started = time.monotonic()
    result = yield
    seconds = time.monotonic() - started
    if item.nodeid not in _not_passed:
        _recorded.append({"test": item.nodeid, "seconds": seconds, "lines": sorted(_lines)})
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Leave out tests that fail without a mutant or are skipped."""
    if not report.passed:
        _not_passed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Write what the tests of this process ran."""
    (Path(_DIRECTORY) / f"{os.getpid()}.json").write_text(json.dumps(_recorded))
