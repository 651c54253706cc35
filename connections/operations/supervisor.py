"""Runs child processes and stops them together, without Django.

`python -m connections.operations.supervisor FD WEB_SERVERS WORKERS DRAIN_SECONDS` runs the service:
this many web servers on the listening socket with this file descriptor, and this many workers.
`serve` and `web` become this process, so that a process that only waits needs little memory.
"""

import ctypes
import functools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from connections.core import logs
from connections.core.errors import STOP_SIGNALS, StopRequestedError

# Not __name__, which is "__main__" in the process that runs this module.
logger = logging.getLogger("connections.operations.supervisor")

ROOT = Path(__file__).resolve().parents[2]
# The web server waits up to 60 s for its requests, because a DELETE to Datadog can take 30. Before
# that, it drains after SIGTERM.
GRACE_SECONDS = 65.0
_LAST_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True, kw_only=True)
class Child:
    """A child process, its name and, if it can be restarted, how."""

    name: str
    process: subprocess.Popen[bytes]
    restart: Callable[[], object] | None = None

    @property
    def exit_reason(self) -> str:
        """How it ended: a signal or an exit code."""
        code = self.process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Supervisor:
    """A context manager that stops all its processes on exit.

    SIGTERM, SIGINT and SIGHUP also end the block. SIGTERM reaches the processes as SIGTERM, the
    others as SIGHUP, because SIGINT would print a traceback in a process that is still starting. A
    second signal while the processes are stopping kills them.
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
        is_impatient = isinstance(error, StopRequestedError) and str(error) != "SIGTERM"
        try:
            self._stop_all(signal.SIGHUP if is_impatient else signal.SIGTERM)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        return isinstance(error, StopRequestedError)

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        replace_when_killed: bool = False,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a process. `options` are passed to Popen.

        With `replace_when_killed`, a process that a signal ended is restarted instead of being
        returned by `wait`.

        The process gets its own process group, because Ctrl-C in a terminal signals a whole group,
        and a web server that stops immediately would interrupt a deletion.
        """
        process = subprocess.Popen(  # noqa: S603 - only our own programs, no shell
            arguments, stdin=subprocess.DEVNULL, process_group=0, **options
        )
        restart = functools.partial(
            self.start, name, arguments, replace_when_killed=True, **options
        )
        child = Child(name=name, process=process, restart=restart if replace_when_killed else None)
        self._children.append(child)
        threading.Thread(target=self._watch, args=(child,), daemon=True).start()
        return process

    def wait(self) -> Child:
        """Wait until a process ends and return it. The others are still running."""
        while True:
            child = self._ended.get()
            if child.restart is None or child.process.returncode >= 0:
                return child
            logger.warning("%s was killed (%s). Restarting it.", child.name, child.exit_reason)
            self._children.remove(child)
            child.restart()

    def _watch(self, child: Child) -> None:
        child.process.wait()
        self._ended.put(child)

    def _stop_all(self, first: signal.Signals) -> None:
        # A child that is a supervisor itself kills its children at the second signal.
        for number, seconds in ((first, self._grace_seconds), (signal.SIGTERM, _LAST_SECONDS)):
            if self._stops_on(number, within=seconds):
                return
        self._signal_all(signal.SIGKILL)
        for child in self._children:
            child.process.wait()

    def _stops_on(self, number: signal.Signals, *, within: float) -> bool:
        deadline = time.monotonic() + within
        try:
            self._signal_all(number)
            for child in self._children:
                child.process.wait(max(0.0, deadline - time.monotonic()))
        except (StopRequestedError, subprocess.TimeoutExpired):
            return False
        return True

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process.poll() is None:
                # The whole group, so that the children of a killed child end too.
                target = os.killpg if number == signal.SIGKILL else os.kill
                target(child.process.pid, number)


def _raise_stop(number: int, frame: FrameType | None) -> None:
    del frame
    raise StopRequestedError(signal.Signals(number).name)


def end_with_parent(parent: int) -> None:
    """Make this process get SIGTERM when its parent ends, even if that was killed. Linux only.

    `parent` is the ID of the process that started it, which might already have ended.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def run_until_first_exit(supervisor: Supervisor) -> int:
    """Wait until a process ends on its own, print which one, and return exit code 1."""
    child = supervisor.wait()
    logger.error("%s ended unexpectedly (%s). Stopping the rest.", child.name, child.exit_reason)
    return 1


def become_service(
    listener: socket.socket, *, web_servers: int, workers: int, drain_seconds: int
) -> NoReturn:
    """Replace this process with one that runs the service on a listening socket until stopped.

    Signals that this process blocks stay pending until the new one handles them.
    """
    module = "connections.operations.supervisor"
    numbers = [listener.fileno(), web_servers, workers, drain_seconds]
    arguments = [*_python(module), *map(str, numbers)]
    os.execve(sys.executable, arguments, _environment())  # noqa: S606 - our own program


def run_service(
    listener: socket.socket, *, web_servers: int, workers: int, drain_seconds: int
) -> int:
    """Run web servers and workers until SIGTERM or SIGINT. Return the exit code."""
    own_id = str(os.getpid())
    env = _environment() | {"ORGADMIN_SUPERVISOR": own_id}
    # Leaving the block closes the port here. Each web server closes its copy once its requests are
    # done.
    with Supervisor(grace_seconds=GRACE_SECONDS + drain_seconds) as supervisor, listener:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        for _ in range(web_servers):
            supervisor.start(
                "The web server",
                [*_python("orgadmin.web_server"), str(listener.fileno())],
                env=env,
                pass_fds=[listener.fileno()],
                replace_when_killed=True,
            )
        for _ in range(workers):
            supervisor.start(
                "The worker",
                [sys.executable, str(ROOT / "manage.py"), "worker", "--end-with-parent", own_id],
                env=env,
            )
        return run_until_first_exit(supervisor)
    return 0


def _python(module: str) -> list[str]:
    # -P, because the current directory could contain modules with the same names.
    return [sys.executable, "-P", "-m", module]


def _environment() -> dict[str, str]:
    """An environment in which Python finds Org Admin's packages from any directory."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


if __name__ == "__main__":
    logs.set_up(is_service=True)
    file, servers, workers, seconds = map(int, sys.argv[1:])
    inherited = socket.socket(fileno=file)
    sys.exit(run_service(inherited, web_servers=servers, workers=workers, drain_seconds=seconds))
