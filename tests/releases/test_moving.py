"""`move_database` copies a used SQLite database to PostgreSQL and verifies it there."""

import json
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.audit.test_postgresql_role import insert
from tests.releases.stored import stored_releases
from tests.releases.used_database import checked, delete, fill, running_simulator, schema_finding
from tests.support.database_copies import administer
from tests.support.databases import url_of
from tests.support.processes import ROOT, Running, manage, until

pytestmark = [pytest.mark.database(every=3), pytest.mark.slow]

CONTENTS = "SELECT {} FROM {} ORDER BY 1"


@pytest.fixture(scope="module")
def used(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an SQLite installation that was used for a month."""
    data = tmp_path_factory.mktemp("used") / "data"
    for release in stored_releases()[-1:]:
        release.unpack(data)
    with running_simulator(data) as env:
        if data.exists():
            checked("migrate", "--verbosity=0", env=env)
        else:
            fill(env)
        yield env


@pytest.fixture
def source(used: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a copy of it, whose service is stopped."""
    data = tmp_path / "data"
    shutil.copytree(used["ORGADMIN_DATA_DIR"], data)
    return used | {"ORGADMIN_DATA_DIR": str(data)}


@pytest.fixture
def target(postgresql_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"moved_{uuid.uuid4().hex[:12]}"
    administer(postgresql_url, "CREATE DATABASE {n}", n=name)
    yield url_of(postgresql_url, name)
    administer(postgresql_url, "DROP DATABASE {n} WITH (FORCE)", n=name)


def contents(env: dict[str, str]) -> list[str]:
    """Everything in the SQLite database."""
    with closing(sqlite3.connect(f"{env['ORGADMIN_DATA_DIR']}/orgadmin.sqlite3")) as opened:
        return list(opened.iterdump())


def on_postgresql(env: dict[str, str], url: str) -> dict[str, str]:
    secret = Path(env["ORGADMIN_DATA_DIR"]) / "secret_key"
    return env | {"DATABASE_URL": url, "SECRET_KEY_FILE": str(secret)}


def test_everything_arrives_and_the_service_goes_on_there(
    source: dict[str, str], target: str, tmp_path: Path
):
    before = contents(source)
    moved = json.loads(checked("move_database", "--to", target, "--json", env=source))
    assert contents(source) == before
    assert moved["checkpoint"] <= moved["events"]

    columns = {
        "connections_credential": "id, name, api_key_envelope",
        "connections_approval": "id, deletion_id, approver_id, digest",
        "connections_auditevent": "seq, text, previous, hash",
        "connections_personalvalue": "number, value, salt, commitment",
        "auth_group": "id, name",
    }
    path = f"{source['ORGADMIN_DATA_DIR']}/orgadmin.sqlite3"
    with closing(sqlite3.connect(path)) as here, psycopg.connect(target) as there:
        for table, names in columns.items():
            query = CONTENTS.format(names, table)
            rows = [tuple(str(value) for value in row) for row in there.execute(query)]
            assert [
                tuple(str(uuid.UUID(value)) if _is_uuid(value) else str(value) for value in row)
                for row in here.execute(query)
            ] == rows
            assert rows
        # The rules hold again.
        with pytest.raises(psycopg.errors.RestrictViolation):
            there.execute("UPDATE connections_auditevent SET text = ''")

    env = on_postgresql(source, target)
    assert schema_finding(env)["level"] == "ok"
    # New rows get new numbers.
    checked("add_person", "--username", "newcomer", "--email", "n@example.com", env=env)
    delete(env, first=-1, last=1000)
    checked("verify_audit", env=env)
    checked("make_evidence_bundle", "--output", str(tmp_path / "bundle.zip"), env=env)


def test_a_hold_is_carried_over_and_none_is_put_on(source: dict[str, str], target: str):
    # Keeps its newest checkpoint in the data directory.
    checked("worker", "--once", env=source)
    checked("hold", "--reason", "We look first.", env=source)
    checked("move_database", "--to", target, env=source)
    checked("worker", "--once", env=on_postgresql(source, target))
    columns = "kind, reason, released_at"
    path = f"{source['ORGADMIN_DATA_DIR']}/orgadmin.sqlite3"
    with closing(sqlite3.connect(path)) as here, psycopg.connect(target) as there:
        held = here.execute(CONTENTS.format(columns, "connections_hold")).fetchall()
        moved = there.execute(CONTENTS.format(columns, "connections_hold")).fetchall()
    assert held == moved == [("by_hand", "We look first.", None)]


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and value.isalnum() and value.islower()


def test_a_target_with_data_is_refused(source: dict[str, str], target: str):
    with psycopg.connect(target) as there:
        there.execute("CREATE TABLE accounts (id bigint)")
    done = manage("move_database", "--to", target, env=source)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds data in accounts. Nothing was changed." in done.stderr


WAITS = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'connections_person'::regclass"


def test_data_that_arrives_during_a_move_is_kept(source: dict[str, str], target: str):
    checked("migrate", "--verbosity=0", env=on_postgresql(source, target))
    program = [sys.executable, str(ROOT / "manage.py"), "move_database", "--to", target]
    with psycopg.connect(target) as there, psycopg.connect(target, autocommit=True) as watching:
        # The move can't see the person yet, and waits to get the table for itself.
        insert(there, "connections_person", id=uuid.UUID(int=1), username="newcomer")
        with Running(program, env=source) as move:
            assert any(watching.execute(WAITS).fetchall() for _ in until(60))
            there.commit()
            move.process.wait(60)
            assert move.process.returncode == 2
        assert watching.execute("SELECT username FROM connections_person").fetchall() == [
            ("newcomer",)
        ]


def test_a_service_that_still_runs_is_noticed(source: dict[str, str], target: str):
    path = f"{source['ORGADMIN_DATA_DIR']}/orgadmin.sqlite3"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("SELECT 1 FROM connections_person").fetchall()
        done = manage("move_database", "--to", target, env=source)
    assert (done.returncode, "is in use. Nothing was changed." in done.stderr) == (2, True)
    with psycopg.connect(target) as there:
        assert there.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        # SQLite doesn't enforce lengths.
        ("UPDATE connections_person SET first_name = hex(zeroblob(200))", "value too long"),
        # An event that the log's end covers is missing.
        (
            "DROP TRIGGER connections_auditevent_delete;"
            "DELETE FROM connections_auditevent WHERE seq = 7;",
            "verify_audit failed at the target",
        ),
    ],
)
def test_what_does_not_arrive_whole_is_not_moved(
    source: dict[str, str], target: str, change: str, problem: str
):
    path = f"{source['ORGADMIN_DATA_DIR']}/orgadmin.sqlite3"
    with closing(sqlite3.connect(path)) as opened, opened:
        trigger = opened.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'connections_auditevent_delete'"
        ).fetchone()[0]
        opened.executescript(change)
        if "DROP TRIGGER" in change:
            opened.execute(trigger)
    before = contents(source)
    done = manage("move_database", "--to", target, env=source)
    assert (done.returncode, done.stdout) == (1, "")
    assert problem in done.stderr
    assert contents(source) == before


@pytest.mark.parametrize("url", ["sqlite:///other.sqlite3", "nonsense"])
def test_the_target_must_be_postgresql(source: dict[str, str], url: str):
    done = manage("move_database", "--to", url, env=source)
    assert (done.returncode, "postgres://owner" in done.stderr) == (2, True)
