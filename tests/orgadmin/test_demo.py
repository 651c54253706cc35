"""`./run demo` as a real process, in a shell with real settings."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import (
    PATIENCE,
    ROOT,
    Running,
    clean_environment,
    free_port,
    is_alive,
    manage,
)
from tests.support.visits import Visitor

pytestmark = pytest.mark.slow

STATES = {"settled", "requested", "approved", "unknown", "still_present"}
OUTCOMES = {
    "deleted",
    "refused",
    "already_absent",
    "gone_unattributed",
    "unresolved",
    "declined",
    "withdrawn",
    "expired",
}


class Demo:
    """A running demo and its output."""

    def __init__(self, process: Running, *, temporary: Path, port: int) -> None:
        self.process = process
        self.port = port
        process.wait_for_line("Ctrl-C ends it")
        [self.data_dir] = temporary.iterdir()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Rows of the demo's database."""
        file = f"file:{self.data_dir / 'orgadmin.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True)) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for all tests here, which only read; the shell's settings name other data."""
    temporary = tmp_path_factory.mktemp("demo")
    port = free_port()
    env = clean_environment(
        data_dir=temporary.parent / "not-this-one",
        PORT=str(port),
        TMPDIR=str(temporary),
        DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing",
        SECRET_KEY_FILE="/nowhere/secret_key",
        ALLOWED_HOSTS="example.org",
        PYTHONPATH=str(ROOT),
    )
    with Running([sys.executable, "-m", "orgadmin.demo"], env=env) as process:
        yield Demo(process, temporary=temporary, port=port)


def test_it_shows_every_state_that_can_last_and_every_common_outcome(demo: Demo) -> None:
    rows = demo.rows("SELECT state, outcome FROM connections_deletion")
    assert {str(state) for state, _ in rows} >= STATES
    assert {str(outcome) for _, outcome in rows} >= OUTCOMES


def test_it_has_four_credentials_on_three_sites_and_some_forty_connections(demo: Demo) -> None:
    assert demo.rows("SELECT COUNT(*), COUNT(DISTINCT site) FROM connections_credential") == [
        (4, 3)
    ]
    [(count,)] = demo.rows(
        "SELECT COUNT(DISTINCT connection_id) FROM connections_orgconnectionsnapshot"
    )
    assert count == 40


def test_its_history_goes_back_some_weeks_and_verified_its_deletions(demo: Demo) -> None:
    [(days,)] = demo.rows(
        "SELECT julianday('now') - julianday(MIN(requested_at)) FROM connections_deletion"
    )
    assert isinstance(days, float)
    assert 20 < days < 40
    assert demo.rows("SELECT 1 FROM connections_deletion WHERE verified_at IS NOT NULL")
    assert demo.rows("SELECT 1 FROM connections_deletion WHERE contradicted_at IS NOT NULL")


@pytest.mark.parametrize(
    "username", ["operator", "approver", "credentials", "auditor", "viewer", "administrator"]
)
def test_each_of_its_people_can_sign_in_with_the_printed_password(
    demo: Demo, username: str
) -> None:
    password = demo.process.wait_for_line("the password is").split()[-3]
    visitor = Visitor(demo.port)
    status, _ = visitor.post("/accounts/login/", login=username, password=password)
    assert status == 302
    assert visitor.get("/deletions/")[0] == 200


def test_its_link_signs_the_operator_in_at_once(demo: Demo) -> None:
    token = demo.process.wait_for_line("/sign-in/#").partition("#")[2]
    visitor = Visitor(demo.port)
    status, _ = visitor.post("/sign-in/", token=token)
    assert status in {302, 303}
    status, page = visitor.get("/connections/")
    assert status == 200
    assert "Payments EU" in page
    assert "Ada Osei" in page


def seed(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orgadmin.demo.seed"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_it_does_not_seed_a_database_that_holds_a_person(tmp_path: Path) -> None:
    env = clean_environment(data_dir=tmp_path, ORGADMIN_DEMO="1")
    manage("migrate", "--verbosity=0", env=env)
    add = ("add_person", "--username=ada", "--email=ada@example.com")
    assert manage(*add, env=env).returncode == 0
    done = seed(env)
    assert done.returncode == 1
    assert "leaves it alone" in done.stderr


def test_it_does_not_seed_outside_the_demo(tmp_path: Path) -> None:
    done = seed(clean_environment(data_dir=tmp_path))
    assert done.returncode == 1
    assert "only for ./run demo" in done.stderr


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    env = clean_environment(
        data_dir=tmp_path / "other",
        PORT=str(free_port()),
        TMPDIR=str(tmp_path),
        PYTHONPATH=str(ROOT),
    )
    with Running([sys.executable, "-m", "orgadmin.demo"], env=env) as process:
        process.wait_for_line("Ctrl-C ends it")
        children = process.children()
        assert len(children) == 2
        assert process.end(signal.SIGINT) == 0
    assert list(tmp_path.iterdir()) == []
    assert not any(is_alive(child) for child in children)
