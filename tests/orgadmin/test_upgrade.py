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

from connections import __version__
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
    programs = tmp_path / "programs"
    programs.mkdir()
    runuser = programs / "runuser"
    # This checkout might be where another user can't read it.
    runuser.write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path / "run as"}"\nshift 3\nexec "$@"\n')
    runuser.chmod(0o755)
    names = {"link": base / "current", "log": base / "log", "pid": base / "pid"}
    env = shared_database.environment(
        PATH=f"{programs}:{os.environ['PATH']}",
        PORT=str(free_port()),
        ORGADMIN_DRAIN_SECONDS="0",
        ORGADMIN_START_COMMAND=START.format(**names),
        ORGADMIN_STOP_COMMAND=STOP.format(**names),
    )
    made = Installation(base=base, env=env)
    if os.geteuid() == 0:
        os.chown(env["ORGADMIN_DATA_DIR"], pwd.getpwnam("nobody").pw_uid, -1)
    made.link.symlink_to(made.release("1.0"))
    subprocess.run(["sh", "-c", env["ORGADMIN_START_COMMAND"]], env=env, check=True)
    assert made.is_ready()
    yield made
    made.stop()


def test_the_new_release_serves_on_the_migrated_database(
    installation: Installation, shared_database: SharedDatabase
):
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
    assert installation.upgrade(installation.base / "1.0").returncode == 0
    assert installation.is_ready()


def test_a_failed_migration_leaves_the_old_release_running(installation: Installation):
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
INTERRUPTING = """#!/bin/sh
case $* in
    *os.replace*) "{python}" "$@"; kill -TERM $PPID ;;
    *) exec "{python}" "$@" ;;
esac
"""


def test_an_interrupt_after_the_switch_does_not_undo_it(installation: Installation):
    new = installation.release("1.1")
    (new / ".venv/bin").unlink()
    (new / ".venv/bin").mkdir()
    program = new / ".venv/bin/python"
    program.write_text(INTERRUPTING.format(python=Path(sys.prefix) / "bin/python"))
    program.chmod(0o755)
    done = installation.upgrade(new, "--dump-done")
    assert (done.returncode, installation.link.readlink()) == (0, new), done.stderr
    assert installation.is_ready()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_writes_as_the_owner_of_the_data_directory(
    installation: Installation, shared_database: SharedDatabase, tmp_path: Path
):
    if not shared_database.is_sqlite:
        pytest.skip("only SQLite is backed up to the data directory")
    new = installation.release("1.1")
    installation.add_migration(new, sql="CREATE TABLE connections_next (id integer)")
    linked = tmp_path / "data"
    linked.symlink_to(installation.env["ORGADMIN_DATA_DIR"])
    done = installation.upgrade(new, ORGADMIN_DATA_DIR=str(linked))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run as").read_text().splitlines()
    users, commands = zip(*(line.split(" -- ", 1) for line in lines), strict=True)
    assert set(users) == {"-u nobody"}
    parts = ("migrate --plan", "migrate --check", "backup", "migrate --no")
    for command, part in zip(commands, parts, strict=True):
        assert part in command


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_does_not_upgrade_what_belongs_to_root(installation: Installation):
    os.chown(installation.env["ORGADMIN_DATA_DIR"], 0, -1)
    done = installation.upgrade(installation.release("1.1"), "--dump-done")
    assert done.returncode == 1
    assert "belongs to root" in done.stderr
    assert done.stderr.endswith("Nothing was changed.\n")
    assert installation.is_ready()


def test_without_a_migration_it_needs_no_dump_and_only_restarts(
    installation: Installation, shared_database: SharedDatabase
):
    """For example, to go back to the previous release."""
    new, before = installation.release("1.1"), installation.process()
    done = installation.upgrade(new)
    assert (done.returncode, installation.link.readlink()) == (0, new), done.stderr
    assert "stopping the service" not in done.stderr
    assert installation.process() != before
    assert installation.is_ready()
    assert not list(Path(installation.env["ORGADMIN_DATA_DIR"]).glob("backups/before-upgrade-*"))


def test_the_dump_is_private_named_by_release_and_overwrites_nothing(
    installation: Installation, shared_database: SharedDatabase, tmp_path: Path
):
    if shared_database.is_sqlite:
        pytest.skip("only PostgreSQL needs a dump")
    new = installation.release("1.1")
    installation.add_migration(new, sql="CREATE TABLE connections_next (id integer)")
    dump = installation.upgrade(new).stdout.splitlines()[-1]
    program = tmp_path / "programs/pg_dump"
    program.write_text("#!/bin/sh\necho dump\n")
    program.chmod(0o755)
    for code in (0, 1):
        done = subprocess.run(
            ["bash", "-ec", dump], env=installation.env, cwd=tmp_path, check=False
        )
        assert (done.returncode == 0) == (code == 0)
    [file] = tmp_path.glob("*.dump")
    assert (file.stat().st_mode & 0o777, file.read_text()) == (0o600, "dump\n")
    assert file.name.startswith(f"orgadmin-{__version__}-20")


def test_nothing_is_stopped_when_the_database_cannot_be_upgraded(installation: Installation):
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
