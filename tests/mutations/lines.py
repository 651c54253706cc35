"""Watches which lines of some files Python runs. RECORDED_FILES names them, one on each line."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType

_TOOL = 4  # a number that no debugger, profiler or coverage tool uses
_EVENTS = sys.monitoring.events


def watch(add: Callable[[str], object]) -> None:
    """From now on call `add` with the "path:number" of each line that runs.

    Once for each line, and again after `sys.monitoring.restart_events()`.
    """
    root = Path(os.environ.get("RECORDED_ROOT", Path.cwd()))
    files = {str(root / path): path for path in os.environ.get("RECORDED_FILES", "").split("\n")}

    def watch_lines(code: CodeType, _offset: int) -> object:
        if code.co_filename in files:
            sys.monitoring.set_local_events(_TOOL, code, _EVENTS.LINE)
        return sys.monitoring.DISABLE

    def add_line(code: CodeType, line: int) -> object:
        add(f"{files[code.co_filename]}:{line}")
        return sys.monitoring.DISABLE

    sys.monitoring.use_tool_id(_TOOL, "recording")
    sys.monitoring.register_callback(_TOOL, _EVENTS.PY_START, watch_lines)
    sys.monitoring.register_callback(_TOOL, _EVENTS.LINE, add_line)
    sys.monitoring.set_events(_TOOL, _EVENTS.PY_START)


def watch_as_child() -> None:
    """In a process that a test started: write each line, after the test's file."""
    path, tests = os.environ["RECORDED_CHILDREN"], os.environ["RECORDED_TESTS"]

    def write(line: str) -> None:
        # Opened each time, and without errors: tests close files and take their space away.
        with suppress(OSError):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{tests}\t{line}\n".encode())
            os.close(file)

    watch(write)
