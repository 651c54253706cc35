"""What the supervisor does about a process that is killed again and again."""

import os
import sys
from pathlib import Path

import pytest

from orgadmin.supervisor import Together, run_until_one_ends

KILLS_ITSELF = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
RUNS = [sys.executable, "-c", "import time; time.sleep(60)"]


class Time:
    """A clock that only the supervisor's own waiting moves, and `each` restart takes longer."""

    def __init__(self, *, each: float = 0.0) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._each = each

    def sleep(self, seconds: float) -> None:
        """Note the wait and let that time pass at once."""
        self.slept.append(seconds)
        self.now += seconds + self._each


def supervisor(time: Time) -> Together:
    return Together(grace_seconds=10, sleep=time.sleep, monotonic=lambda: time.now)


def test_the_fifth_kill_within_a_minute_ends_the_service(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    time = Time()
    with supervisor(time) as together:
        together.start(
            "The web server", KILLS_ITSELF, env=os.environ, cwd=tmp_path, replace_when_killed=True
        )
        worker = together.start("The worker", RUNS, env=os.environ, cwd=tmp_path)
        assert run_until_one_ends(together) == 1
    assert time.slept == [1.0] * 4
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        *["The web server was ended by SIGKILL: starting it again."] * 4,
        "The web server ended by itself by SIGKILL: stopping the rest.",
    ]
    assert worker.poll() is not None


def test_kills_far_apart_are_not_counted_together(tmp_path: Path) -> None:
    time = Time(each=14.0)  # the fifth comes 60 s after the first
    # Kills itself seven times, then ends with exit code 3.
    program = (
        "import os, signal, pathlib; runs = pathlib.Path('runs');"
        "runs.open('a').write('.');"
        "len(runs.read_text()) > 7 and os._exit(3);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with supervisor(time) as together:
        together.start(
            "The web server",
            [sys.executable, "-c", program],
            env=os.environ,
            cwd=tmp_path,
            replace_when_killed=True,
        )
        assert together.wait().process.returncode == 3
    assert time.slept == [1.0] * 7
