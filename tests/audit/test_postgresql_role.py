"""The service's own role on PostgreSQL, made as docs/OPERATIONS.md says, cannot drop a trigger."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from connections.key_ring import new_key_ring_text
from orgadmin.private_files import create_private_text
from tests.support.databases import SharedDatabase, _administer, _url_of
from tests.support.processes import manage

OPERATIONS = Path(__file__).parents[2] / "docs/OPERATIONS.md"


def statements() -> str:
    [block] = re.findall(
        r"```sql\n(CREATE ROLE orgadmin_app.*?)```", OPERATIONS.read_text(), re.DOTALL
    )
    return str(block)


@pytest.fixture
def database(postgresql_url: str, postgresql_template: str) -> Iterator[tuple[str, str]]:
    """The address of a migrated database, and a role that may use it."""
    name, role = f"roles_{uuid.uuid4().hex[:12]}", f"app_{uuid.uuid4().hex[:12]}"
    _administer(postgresql_url, "CREATE DATABASE {n} TEMPLATE {t}", n=name, t=postgresql_template)
    url = _url_of(postgresql_url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statements().replace("orgadmin_app", role)))
    yield url, role
    _administer(postgresql_url, "DROP DATABASE {n} WITH (FORCE)", n=name)
    _administer(postgresql_url, "DROP ROLE {r}", r=role)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER connections_auditevent_rows ON connections_auditevent",
        "ALTER TABLE connections_auditevent DISABLE TRIGGER USER",
        "DROP TABLE connections_auditevent",
        "TRUNCATE connections_auditevent",
        "UPDATE connections_auditevent SET text = 'x'",
        "DELETE FROM connections_checkpoint",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION connections_auditevent_append_only() RETURNS trigger "
        "LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    ],
)
def test_the_role_cannot(database: tuple[str, str], statement: str) -> None:
    url, role = database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_the_role_can_do_what_the_service_does(database: tuple[str, str], tmp_path: Path) -> None:
    url, role = database
    create_private_text(tmp_path / "keyring.json", new_key_ring_text())
    as_role = f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"
    environment = SharedDatabase(url=as_role, data_dir=tmp_path).environment()
    person = ("--username", "ada", "--email", "ada@example.com")
    for command in (("add_person", *person), ("erase_person", *person[:2], "--yes")):
        done = manage(*command, env=environment)
        assert done.returncode == 0, done.stderr
    verified = manage("verify_audit", env=environment)
    assert (verified.returncode, "2 events" in verified.stdout) == (0, True)
