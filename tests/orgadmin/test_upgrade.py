"""`./run upgrade` between real directories, with real processes, on SQLite and PostgreSQL."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.databases import SharedDatabase
from tests.support.processes import ROOT, free_port, get, is_alive, until

pytestmark = [pytest.mark.slow, pytest.mark.processes(sqlite=4, postgresql=5)]

COPIED = ("connections", "orgadmin", "static", "templates", "manage.py", "run")
MIGRATION = """
from django.db.migrations import RunSQL
from connections.models.released_migrations import ReleasedMigration

class Migration(ReleasedMigration):
    release = "9.1.0"
    dependencies = [("connections", "{last}")]
    operations = [RunSQL("{sql}")]
"""
# Ends without waiting, and leaves the service running.
START = """
cd "{link}" && {{ ./run serve >>"{log}" 2>&1 & }} && echo $! >"{pid}"
"""
# Nobody may wait for the process, and then it stays as a zombie.
STOP = """
kill "$(cat "{pid}")"
while grep -q "State:.[^Z]" "/proc/$(cat "{pid}")/status" 2>/dev/null; do sleep 0.1; done
"""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A link to the release that runs, and the settings of its service."""

    base: Path
    env: dict[str, str]

    @property
    def link(self) -> Path:
        return self.base / "current"

    def release(self, name: str) -> Path:
        """A directory with this checkout, whose packages are installed."""
        directory = self.base / name
        directory.mkdir()
        for part in COPIED:
            if (ROOT / part).is_dir():
                # With its byte code, which takes seconds to make.
                shutil.copytree(ROOT / part, directory / part)
            else:
                shutil.copy2(ROOT / part, directory / part)
        venv = directory / ".venv"
        venv.mkdir()
        for part in ("bin", "lib", "pyvenv.cfg"):
            (venv / part).symlink_to(Path(sys.prefix) / part)
        for file in ROOT.glob("requirements*.txt"):
            shutil.copy2(file, directory)
            checksum = subprocess.check_output(["cksum"], input=file.read_bytes())
            (venv / f"installed-{file.name}").write_bytes(checksum)
        return directory

    def add_migration(self, release: Path, *, sql: str) -> None:
        last = max(path.stem for path in (release / "connections/migrations").glob("0*.py"))
        text = MIGRATION.format(last=last, sql=sql)
        (release / "connections/migrations/0100_next.py").write_text(text)

    def upgrade(self, release: Path, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [release / "run", "upgrade", "--link", self.link, *more],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def is_ready(self) -> bool:
        return get(int(self.env["PORT"]), "/readyz") == (200, "ok\n")

    def process(self) -> int:
        return int((self.base / "pid").read_text())

    def stop(self) -> None:
        os.kill(self.process(), signal.SIGTERM)
        assert any(not is_alive(self.process()) for _ in until(60))


@pytest.fixture
def installation(shared_database: SharedDatabase, tmp_path: Path) -> Iterator[Installation]:
    """The first release, which serves."""
    base = tmp_path / "releases of ours"
    base.mkdir()
    names = {"link": base / "current", "log": base / "log", "pid": base / "pid"}
    env = shared_database.environment(
        PATH=os.environ["PATH"],
        PORT=str(free_port()),
        ORGADMIN_DRAIN_SECONDS="0",
        ORGADMIN_START_COMMAND=START.format(**names),
        ORGADMIN_STOP_COMMAND=STOP.format(**names),
    )
    made = Installation(base=base, env=env)
    made.link.symlink_to(made.release("1.0"))
    subprocess.run(["sh", "-c", env["ORGADMIN_START_COMMAND"]], env=env, check=True)
    assert made.is_ready()
    yield made
    made.stop()


def test_the_new_release_serves_on_the_migrated_database(
    installation: Installation, shared_database: SharedDatabase
) -> None:
    new = installation.release("1.1")
    installation.add_migration(new, sql="CREATE TABLE connections_next (id integer)")
    before = installation.process()
    more = []
    if not shared_database.is_sqlite:
        done = installation.upgrade(new)
        assert done.returncode == 1
        assert "nothing was stopped or changed" in done.stderr
        assert "pg_dump --format=custom" in done.stdout
        assert installation.process() == before
        assert installation.is_ready()
        more = ["--dump-done"]
    done = installation.upgrade(new, *more)
    assert (done.returncode, installation.link.readlink()) == (0, new), done.stderr
    assert installation.process() != before
    assert installation.is_ready()
    data = Path(installation.env["ORGADMIN_DATA_DIR"])
    backups = list(data.glob("backups/before-upgrade-*/manifest.json"))
    assert len(backups) == shared_database.is_sqlite
    # The previous release works with this database too: going back needs no restore.
    assert installation.upgrade(installation.base / "1.0", *more).returncode == 0
    assert installation.is_ready()


def test_a_failed_migration_leaves_the_old_release_running(
    installation: Installation,
) -> None:
    new = installation.release("1.1")
    installation.add_migration(new, sql="ALTER TABLE connections_nowhere ADD COLUMN x integer")
    done = installation.upgrade(new, "--dump-done")
    assert done.returncode == 1
    assert "A migration failed and was undone" in done.stderr
    assert f"The link still points to {installation.base}/1.0." in done.stderr
    assert done.stderr.endswith("run: It was started again.\n")
    assert installation.link.readlink() == installation.base / "1.0"
    assert installation.is_ready()


# Interrupts the script when the link was replaced.
INTERRUPTING = """
import atexit, os, signal, sys
if any("os.replace" in argument for argument in sys.orig_argv):
    atexit.register(os.kill, os.getppid(), signal.SIGTERM)
"""


def test_an_interrupt_after_the_switch_does_not_undo_it(
    installation: Installation, tmp_path: Path
) -> None:
    new = installation.release("1.1")
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    done = installation.upgrade(new, "--dump-done", PYTHONPATH=str(tmp_path))
    assert (done.returncode, installation.link.readlink()) == (0, new), done.stderr
    assert installation.is_ready()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_writes_as_the_owner_of_the_data_directory(
    installation: Installation, shared_database: SharedDatabase, tmp_path: Path
) -> None:
    if not shared_database.is_sqlite:
        pytest.skip("only SQLite is backed up to the data directory")
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "run as"
    runuser = programs / "runuser"
    # This checkout might be where another user can't read it.
    runuser.write_text(f'#!/bin/sh\necho "$*" >>"{log}"\nshift 3\nexec "$@"\n')
    runuser.chmod(0o755)
    os.chown(installation.env["ORGADMIN_DATA_DIR"], pwd.getpwnam("nobody").pw_uid, -1)
    path = f"{programs}:{installation.env['PATH']}"
    done = installation.upgrade(installation.release("1.1"), PATH=path)
    assert done.returncode == 0, done.stderr
    users, commands = zip(
        *(line.split(" -- ", 1) for line in log.read_text().splitlines()), strict=True
    )
    assert set(users) == {"-u nobody"}
    for command, part in zip(commands, ("migrate --plan", "backup", "migrate --no"), strict=True):
        assert part in command


def test_nothing_is_stopped_when_the_database_cannot_be_upgraded(
    installation: Installation,
) -> None:
    new = installation.release("1.1")
    with (new / "connections/migrations/0001_initial.py").open("a") as file:
        file.write("# edited\n")
    before = installation.process()
    done = installation.upgrade(new, "--dump-done")
    assert done.returncode == 1
    assert "can't be upgraded" in done.stderr
    assert done.stderr.endswith(f"Nothing was changed; {installation.base}/1.0 still runs.\n")
    assert (installation.process(), installation.is_ready()) == (before, True)
    # The URL of the database is only in the service's unit.
    done = installation.upgrade(new, DATABASE_URL="", ORGADMIN_DATA_DIR=str(installation.base))
    assert "has no orgadmin.sqlite3. Set DATABASE_URL" in done.stderr
    for arguments in ([], ["--nonsense"]):
        done = installation.upgrade(installation.base / "1.0", *arguments)
        assert done.returncode == 1
