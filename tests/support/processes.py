"""Real processes of the product, each with its own environment and data directory."""

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Self

from tests.support.template_process import start

ROOT = Path(__file__).resolve().parents[2]
# Seconds until a process that hangs fails its test, also on a busy machine.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "180"))


def clean_environment(*, data_dir: Path, **more: str) -> dict[str, str]:
    """The environment of a plain shell, with a data directory, for processes that stop at once."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    fixed = {"ORGADMIN_DATA_DIR": str(data_dir), "ORGADMIN_DRAIN_SECONDS": "0"}
    return kept | fixed | more


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on at the moment.

    It is below those that Linux gives to any socket that asks for none (32768 and up). One of
    these could belong to another process before the caller's process listens.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        # The tests' own random numbers are the same in each worker.
        port = 10_000 + secrets.randbelow(20_000)
        with (
            contextlib.suppress(OSError),
            socket.create_server((host, port), family=family),
        ):
            return port


class Running:
    """A process whose output is collected. Leaving the context ends it and its children."""

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.process = start(
            arguments,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=1,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            # The kernel sends SIGTERM to the process's children when it is killed.
            self.end(signal.SIGKILL)
        self._reader.join(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()

    @property
    def output(self) -> str:
        """Standard output and standard error so far."""
        return "\n".join(self.lines)

    def wait_for_line(self, text: str, *, seconds: float = PATIENCE) -> str:
        """Wait for the first line that contains the text, and return it."""
        for _ in until(seconds):
            has_ended = self.process.poll() is not None
            if has_ended:
                # Its last lines might not have been read yet.
                self._reader.join(PATIENCE)
            for line in list(self.lines):
                if text in line:
                    return line
            assert not has_ended, self.output
        raise AssertionError(f"no line with {text!r} came:\n{self.output}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def children(self) -> list[int]:
        """The ids of its child processes."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(seconds: float, *, every: float = 0.02) -> Iterator[None]:
    """Yield repeatedly until the time is over, to wait for another process."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(every)


def manage(
    *arguments: str,
    env: Mapping[str, str],
    hindrance: Callable[[], None] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command of manage.py to its end, in a process that calls `hindrance` first."""
    if hindrance:
        options["preexec_fn"] = hindrance
    return run([sys.executable, str(ROOT / "manage.py"), *arguments], env=env, **options)


def run_at_once(code: str, argument: Path, *, count: int, env: Mapping[str, str]) -> list[str]:
    """What processes print that all wait until each has printed "ready"."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", code, str(argument)]
    racers = [start(command, env=env, **pipes) for _ in range(count)]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.close()
        racer.stdin = None
    return [racer.communicate()[0] for racer in racers]


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], seconds: float = PATIENCE, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. It fails the test after this many seconds."""
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(arguments, env=env, **files | options) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def get(
    port: int, path: str, *, host: str = "127.0.0.1", headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The status and text of one page, as soon as something listens on the port."""
    for _ in until(PATIENCE):
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode()
    raise AssertionError(f"nothing answers on port {port}")


def is_alive(pid: int) -> bool:
    """Whether a process is still running. A zombie isn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
