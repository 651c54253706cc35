"""Runs the PostgreSQL backup commands from docs/DEPLOYMENT.md."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import find_programs, throw_away_postgresql
from tests.support.processes import ROOT, clean_environment, manage

pytestmark = pytest.mark.database

STORE = """
from connections.models.sessions import SessionStore
from tests.support.key_rings import stored_credential
stored_credential()
session = SessionStore()
session["owner"] = "ada"
session.create()
print(session.session_key)
"""
OPEN = """
from connections.models import Credential
Credential.objects.get().open_keys().api_key.reveal()
"""


@pytest.fixture(scope="module")
def server(postgresql_url: str) -> Iterator[str]:
    """A separate server, because the commands replace a database."""
    with throw_away_postgresql() as url:
        yield url


def documented_commands() -> str:
    """The commands that dump the database, and restore it into the new one."""
    text = (ROOT / "docs/DEPLOYMENT.md").read_text()
    section = text.partition("### 8. ")[2].partition("### 10. ")[0]
    commands = r"^ *((?:pg_dump |dump=|pg_restore )(?:.*\\\n)*.*)$"
    dump, *restore = re.findall(commands, section, re.MULTILINE)
    dump = dump.replace("$(cat /etc/orgadmin/owner_url)", "$DATABASE_URL")
    return "\n".join(["name=1.2.0", dump, "DATABASE_URL=$NEW_DATABASE_URL", *restore])


@pytest.fixture
def env(server: str, tmp_path: Path) -> dict[str, str]:
    """A service with one stored credential, and an empty database to restore into."""
    programs = find_programs()
    values = clean_environment(data_dir=tmp_path, DATABASE_URL=server)
    values["PATH"] = f"{programs}:{values['PATH']}"
    made = manage("make_keys", "--output", str(tmp_path / "keys"), env=values)
    assert made.returncode == 0, made.stderr
    values |= {
        "SECRET_KEY_FILE": str(tmp_path / "keys/secret_key"),
        "ORGADMIN_KEYRING_FILE": str(tmp_path / "keys/keyring.json"),
        "ORGADMIN_SIGNING_KEY_FILE": str(tmp_path / "keys/signing_key.json"),
        "NEW_DATABASE_URL": server.replace("/postgres?", "/restored?"),
    }
    for arguments in (("migrate", "--verbosity=0"), ("shell", "--no-imports", "-c", STORE)):
        done = manage(*arguments, env=values)
        assert done.returncode == 0, done.stderr
    values["SESSION_KEY"] = done.stdout.strip()
    psql = ["psql", "--command=CREATE DATABASE restored", server]
    subprocess.run(psql, env=values, check=True, capture_output=True)
    return values


@pytest.mark.parametrize("command", [("backup", "--output", "x"), ("restore", "--from", "x")])
def test_our_commands_refer_to_the_postgresql_tools(tmp_path: Path, command: tuple[str, ...]):
    env = clean_environment(
        data_dir=tmp_path, DATABASE_URL="postgres:///nowhere", SECRET_KEY="x" * 50
    )
    done = manage(*command, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "use pg_dump and pg_restore: see docs/OPERATIONS.md" in done.stderr


def test_the_documented_commands_restore_a_database_that_its_key_ring_decrypts(
    env: dict[str, str], tmp_path: Path
):
    script = ["sh", "-eu", "-c", documented_commands()]
    done = subprocess.run(
        script, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    as_sql = ["pg_restore", "--file=-", str(tmp_path / "orgadmin-1.2.0.dump")]
    dumped = subprocess.run(as_sql, env=env, check=True, capture_output=True, text=True).stdout
    _, _, rows = dumped.partition("COPY public.connections_credential ")
    assert rows
    assert "COPY public.connections_personsession " not in dumped
    assert env["SESSION_KEY"] not in dumped
    restored = env | {"DATABASE_URL": env["NEW_DATABASE_URL"]}
    opened = manage("shell", "--no-imports", "-c", OPEN, env=restored)
    assert (opened.returncode, opened.stderr) == (0, "")
    held = manage("after_restore", env=restored)
    assert held.returncode == 0, held.stderr
    assert manage("release_hold", env=restored).returncode == 2

    other = manage("make_keys", "--output", str(tmp_path / "other"), env=restored)
    assert other.returncode == 0
    wrong = restored | {"ORGADMIN_KEYRING_FILE": str(tmp_path / "other/keyring.json")}
    start = manage("worker", "--once", env=wrong)
    assert start.returncode == 1
    assert "has no key" in start.stderr
