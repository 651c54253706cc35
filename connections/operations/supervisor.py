"""Runs child processes and stops them together, without Django."""

import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Self

from connections.core.signals import STOP_SIGNALS, StopRequestedError

# The web server waits up to 60 s for its requests, since a DELETE to Datadog can take 30.
GRACE_SECONDS = 65.0
_LAST_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True, kw_only=True)
class Child:
    """A child process, its name, and how to restart it if it can be restarted."""

    name: str
    process: subprocess.Popen[bytes]
    restart: Callable[[], object] | None = None

    @property
    def exit_reason(self) -> str:
        """How it ended, as the end of a sentence."""
        code = self.process.returncode
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


class Supervisor:
    """A context manager that stops all its processes on exit.

    SIGTERM, SIGINT and SIGHUP end the block too; a second one while the processes are stopping
    kills them.
    """

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._children: list[Child] = []
        self._ended: SimpleQueue[Child] = SimpleQueue()

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, _raise_stop) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        try:
            self._stop_all()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        return isinstance(error, StopRequestedError)

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        pass_fds: Sequence[int] = (),
        stdout: int | None = None,
        replace_when_killed: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a process; `stdout` is as for Popen. Raises OSError when it can't be started.

        With `replace_when_killed`, a process that a signal ended is restarted instead of being
        returned by `wait`.

        It gets its own process group: Ctrl-C in a terminal signals a whole group, and a web
        server that stops at once would interrupt a deletion.
        """
        process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            arguments,
            env=dict(env),
            cwd=cwd,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            process_group=0,
        )
        restart = functools.partial(
            self.start,
            name,
            arguments,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            stdout=stdout,
            replace_when_killed=True,
        )
        child = Child(name=name, process=process, restart=restart if replace_when_killed else None)
        self._children.append(child)
        threading.Thread(target=self._watch, args=(child,), daemon=True).start()
        return process

    def wait(self) -> Child:
        """Wait until a process ends and return it; the others are still running."""
        while True:
            child = self._ended.get()
            if child.restart is None or child.process.returncode >= 0:
                return child
            _print_line(f"{child.name} was ended {child.exit_reason}: starting it again.")
            self._children.remove(child)
            child.restart()

    def _watch(self, child: Child) -> None:
        child.process.wait()
        self._ended.put(child)

    def _stop_all(self) -> None:
        # A child that is a supervisor itself kills its children at the second SIGTERM.
        for seconds in (self._grace_seconds, _LAST_SECONDS):
            if self._stops_on_sigterm(within=seconds):
                return
        self._signal_all(signal.SIGKILL)
        for child in self._children:
            child.process.wait()

    def _stops_on_sigterm(self, *, within: float) -> bool:
        deadline = time.monotonic() + within
        try:
            self._signal_all(signal.SIGTERM)
            for child in self._children:
                child.process.wait(max(0.0, deadline - time.monotonic()))
        except (StopRequestedError, subprocess.TimeoutExpired):
            return False
        return True

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process.poll() is None:
                # The whole group, so that a killed child's own children end too.
                target = os.killpg if number == signal.SIGKILL else os.kill
                target(child.process.pid, number)


def _raise_stop(number: int, frame: FrameType | None) -> None:
    del frame
    raise StopRequestedError(signal.Signals(number).name)


def end_with_parent(parent: int) -> None:
    """Let this process get SIGTERM when its parent ends, even if that was killed; Linux only.

    `parent` is the ID of the process that started it, which might have ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def run_until_first_exit(supervisor: Supervisor) -> int:
    """Wait until a process ends by itself, print which, and return exit code 1."""
    child = supervisor.wait()
    _print_line(f"{child.name} ended by itself {child.exit_reason}: stopping the rest.")
    return 1


def _print_line(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - also where logging is not set up
