"""Commands whose output closes early, as with `| head`, or whose locale isn't UTF-8."""

import os
from pathlib import Path

import pytest

from tests.support.processes import clean_environment, manage


@pytest.fixture
def env(migrated_directory: Path) -> dict[str, str]:
    """An installation whose audit log holds one event."""
    env = clean_environment(data_dir=migrated_directory)
    add = ("add_person", "--username", "ada", "--email", "ada@example.com")
    assert manage(*add, env=env).returncode == 0
    return env


def run_with_closed_pipe(*arguments: str, env: dict[str, str]) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output is a closed pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = manage(*arguments, env=env, stdout=writing)
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", [("export_audit",), ("export_deletions", "--format=csv")])
def test_an_export_to_a_closed_pipe_exits_quietly_and_is_recorded_as_aborted(
    env: dict[str, str], command: tuple[str, ...]
):
    assert run_with_closed_pipe(*command, env=env) == (141, "")
    recorded = manage("export_audit", env=env).stdout
    assert [code in recorded for code in ("export.aborted", "export.finished")] == [True, False]
    assert '"cause": "receiver_gone"' in recorded


@pytest.mark.parametrize(
    ("command", "code"), [(("doctor",), 0), (("verify_credentials", "--json", "nobody"), 2)]
)
def test_a_closed_pipe_does_not_change_the_exit_code(
    env: dict[str, str], command: tuple[str, ...], code: int
):
    found, errors = run_with_closed_pipe(*command, env=env)
    assert (found, "BrokenPipe" in errors) == (code, False)


def test_output_is_utf_8_whatever_the_locale_is(env: dict[str, str]):
    arguments = ("--username", "łukasz", "--email", "lukasz@example.com")
    done = manage("add_person", *arguments, env=env | {"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "łukasz" in done.stdout
