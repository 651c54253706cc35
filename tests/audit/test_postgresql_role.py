"""The service's PostgreSQL role, created as docs/DEPLOYMENT.md says, can't drop triggers."""

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from django.test import override_settings
from psycopg import sql
from pytest_django import DjangoDbBlocker

from connections.core.private_files import create_private_text
from connections.crypto.encryption import new_key_ring_text
from connections.operations import database_guards
from tests.support.database_copies import administer
from tests.support.databases import SharedDatabase, url_of
from tests.support.postgres import find_programs
from tests.support.processes import manage

pytestmark = pytest.mark.database

DEPLOYMENT = Path(__file__).parents[2] / "docs/DEPLOYMENT.md"


def documented_sql() -> str:
    """What an administrator of the server runs once."""
    section = DEPLOYMENT.read_text().partition("### 2. Database\n")[2].partition("### 3.")[0]
    return "\n".join(re.findall(r"^(?:CREATE|ALTER) .*;$", section, re.MULTILINE))


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The documented roles, and the database that their owner migrated."""

    owner: str
    app: str
    template: str

    def renamed(self, documented: str) -> str:
        """The documented SQL with these names."""
        text = documented.replace("orgadmin_owner", self.owner).replace("orgadmin_app", self.app)
        return text.replace("DATABASE orgadmin ", f"DATABASE {self.template} ")


def url_as(url: str, role: str) -> str:
    """The URL of the same database for this role, which needs no password this way."""
    return f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"


@pytest.fixture(scope="module")
def roles(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    """An owner without CREATEROLE, or any other right on the server, has migrated."""
    number = uuid.uuid4().hex[:12]
    roles = Roles(owner=f"owner_{number}", app=f"app_{number}", template=f"owned_{number}")
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        # One by one, because CREATE DATABASE refuses a transaction.
        for statement in roles.renamed(documented_sql()).strip().splitlines():
            connection.execute(sql.SQL(statement))
    owned = SharedDatabase(
        url=url_as(url_of(postgresql_url, roles.template), roles.owner),
        data_dir=tmp_path_factory.mktemp("owned"),
    )
    done = manage("migrate", "--verbosity=0", env=owned.environment(ORGADMIN_DB_APP_ROLE=roles.app))
    assert done.returncode == 0, done.stderr
    yield roles
    administer(postgresql_url, "DROP DATABASE {n}", n=roles.template)
    administer(postgresql_url, "DROP ROLE {a}", a=roles.app)
    administer(postgresql_url, "DROP ROLE {o}", o=roles.owner)


@pytest.fixture
def database(
    postgresql_url: str, roles: Roles, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[str, str]]:
    """The URL of a migrated database, and a role that can use it."""
    name = f"roles_{uuid.uuid4().hex[:12]}"
    names = {"n": name, "t": roles.template, "o": roles.owner}
    administer(postgresql_url, "CREATE DATABASE {n} TEMPLATE {t} OWNER {o}", **names)
    url = url_of(postgresql_url, name)
    as_owner = SharedDatabase(url=url_as(url, roles.owner), data_dir=tmp_path)
    with django_db_blocker.unblock(), as_owner.opened(), override_settings(DB_APP_ROLE=roles.app):
        # A copy of a database lacks what was revoked from everyone in the original.
        database_guards.grant_to_service()
    yield url, roles.app
    administer(postgresql_url, "DROP DATABASE {n} WITH (FORCE)", n=name)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER connections_auditevent_update ON connections_auditevent",
        "ALTER TABLE connections_auditevent DISABLE TRIGGER USER",
        "DROP TABLE connections_auditevent",
        "TRUNCATE connections_auditevent",
        "UPDATE connections_auditevent SET text = 'x'",
        "DELETE FROM connections_checkpoint",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION connections_auditevent_update() RETURNS trigger "
        "LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "DELETE FROM connections_attempt",
        "DELETE FROM connections_deletion",
        "CREATE TEMPORARY TABLE connections_approval (id bigint)",
        "CREATE TABLE connections_other (id bigint)",
        "INSERT INTO connections_audithead (id, origin, size, hash) VALUES (2, '', 0, '')",
        "DELETE FROM connections_protection",
        "UPDATE connections_appliedmigration SET sha256 = ''",
        "DELETE FROM django_migrations",
    ],
)
def test_the_role_cannot(database: tuple[str, str], statement: str):
    url, role = database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_the_role_cannot_migrate(database: tuple[str, str], tmp_path: Path):
    url, role = database
    service = SharedDatabase(url=url_as(url, role), data_dir=tmp_path)
    done = manage("migrate", env=service.environment(ORGADMIN_DB_APP_ROLE=role))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "Nothing was changed. Run migrate with a DATABASE_URL that names the owner" in line


def test_the_next_releases_tables_are_not_granted_by_this_one(
    database: tuple[str, str], roles: Roles, tmp_path: Path
):
    url, role = database
    with psycopg.connect(url_as(url, roles.owner), autocommit=True) as connection:
        for statement in (
            "CREATE TABLE connections_next (id bigint)",
            "INSERT INTO connections_appliedmigration VALUES ('0100_next', 'x', '9.0.0')",
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('connections', '0100_next', now())",
        ):
            connection.execute(sql.SQL(statement))
    owner = SharedDatabase(url=url_as(url, roles.owner), data_dir=tmp_path)
    done = manage("migrate", env=owner.environment(ORGADMIN_DB_APP_ROLE=role))
    assert (done.returncode, f"That release grants to {role}." in done.stdout) == (0, True)
    assert not has_right(url, role=role, right="UPDATE", table="connections_next")


def test_migrating_takes_back_what_was_granted_otherwise(
    database: tuple[str, str], roles: Roles, tmp_path: Path
):
    url, role = database
    with psycopg.connect(url_as(url, roles.owner), autocommit=True) as connection:
        grant = sql.SQL("GRANT ALL ON connections_auditevent TO {}")
        connection.execute(grant.format(sql.Identifier(role)))
    assert has_right(url, role=role, right="TRUNCATE", table="connections_auditevent")
    owner = SharedDatabase(url=url_as(url, roles.owner), data_dir=tmp_path)
    done = manage("migrate", env=owner.environment(ORGADMIN_DB_APP_ROLE=role))
    assert done.returncode == 0, done.stderr
    assert not has_right(url, role=role, right="TRUNCATE", table="connections_auditevent")


def has_right(url: str, *, role: str, right: str, table: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT has_table_privilege(%s, %s, %s)"
        return bool(connection.execute(query, [role, table, right]).fetchone() == (True,))


def test_a_role_that_does_not_exist_is_named_after_migrating(
    database: tuple[str, str], roles: Roles, tmp_path: Path
):
    owner = SharedDatabase(url=url_as(database[0], roles.owner), data_dir=tmp_path)
    done = manage("migrate", env=owner.environment(ORGADMIN_DB_APP_ROLE="no_such_role"))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert 'granted nothing: role "no_such_role" does not exist' in line


def test_the_role_can_do_everything_the_service_does(database: tuple[str, str], tmp_path: Path):
    url, role = database
    create_private_text(tmp_path / "keyring.json", new_key_ring_text())
    as_role = url_as(url, role)
    environment = SharedDatabase(url=as_role, data_dir=tmp_path).environment()
    person = ("--username", "ada", "--email", "ada@example.com")
    for command in (("add_person", *person), ("erase_person", *person[:2], "--yes")):
        done = manage(*command, env=environment)
        assert done.returncode == 0, done.stderr
    verified = manage("verify_audit", env=environment)
    assert (verified.returncode, "2 events" in verified.stdout) == (0, True)


def test_the_role_can_back_up_the_database(database: tuple[str, str], tmp_path: Path):
    url, role = database
    programs = find_programs()
    assert programs
    command = (
        programs / "pg_dump",
        "--format=custom",
        f"--role={role}",
        f"--file={tmp_path}/dump",
        url,
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- Temporary tables, which PostgreSQL looks in before all others --------------------------------

DELETION, REQUESTER, OTHER = (uuid.UUID(int=number) for number in (1, 2, 3))
# What each temporary table contains, and what the trigger would then accept.
APPROVED_BY_NOBODY = (
    "CREATE TEMPORARY TABLE connections_approval AS SELECT d.id AS deletion_id,"
    " 'approved' AS decision, d.approval_digest AS digest, d.requested_by_id AS requester_id"
    " FROM public.connections_deletion AS d",
    "UPDATE public.connections_deletion SET state = 'approved'",
    "The deletion needs more approvals",
)
APPROVED_BY_THE_REQUESTER = (
    "CREATE TEMPORARY TABLE connections_deletion AS SELECT id, 'requested' AS state,"  # noqa: S608
    f" '{OTHER}'::uuid AS requested_by_id, approval_digest, 'one' AS policy,"
    " NULL::timestamptz AS break_glass_at FROM public.connections_deletion",
    "INSERT INTO public.connections_approval (deletion_id, approver_id, approver_name,"  # noqa: S608
    " requester_id, decision, digest, reason, decided_at)"
    f" SELECT id, '{REQUESTER}', 'ada', '{OTHER}', 'approved', approval_digest, '', now()"
    " FROM public.connections_deletion",
    "An approval must match",
)
GAP_IN_THE_AUDIT_LOG = (
    "CREATE TEMPORARY TABLE connections_auditevent AS SELECT 41 AS seq",
    "INSERT INTO public.connections_auditevent (seq, text, previous, hash, at, code, actor_kind,"
    " actor, request_id, subject_type, subject_id, sentence)"
    " VALUES (42, '{}', '', '', now(), 'x', 'worker', '', '', '', '', '')",
    "append-only",
)


@pytest.mark.parametrize("has_temporary_tables", [False, True])
@pytest.mark.parametrize(
    "attack", [APPROVED_BY_NOBODY, APPROVED_BY_THE_REQUESTER, GAP_IN_THE_AUDIT_LOG]
)
def test_temporary_tables_do_not_replace_real_ones(
    database: tuple[str, str], attack: tuple[str, str, str], has_temporary_tables: bool
):
    """Also for an older role that can create one: the triggers don't read it."""
    url, role = database
    made_up, change, refused = attack
    with psycopg.connect(url) as connection:
        store_a_request(connection)
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(name))
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        if has_temporary_tables:
            connection.execute(made_up)
        with pytest.raises(psycopg.errors.RestrictViolation, match=refused):
            connection.execute(change)


def store_a_request(connection: psycopg.Connection) -> None:
    """Insert a deletion that needs one approval directly into the tables."""
    insert(connection, "connections_person", id=REQUESTER, username="ada")
    insert(connection, "connections_person", id=OTHER, username="eve")
    insert(connection, "connections_credential", id=DELETION, name="Payments")
    insert(
        connection,
        "connections_deletion",
        id=DELETION,
        credential_id=DELETION,
        requested_by_id=REQUESTER,
        policy="one",
        state="requested",
        request_id=DELETION,
    )


def insert(connection: psycopg.Connection, table: str, **values: object) -> None:
    """Insert a row with default values in all other required columns."""
    columns = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s"
        " AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'",
        [table],
    )
    empty = {name: EMPTY[kind] for name, kind in columns if name not in values}
    row = empty | values
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


EMPTY: dict[str, object] = {
    "boolean": False,
    "bytea": b"",
    "character varying": "",
    "integer": 0,
    "jsonb": "{}",
    "smallint": 0,
    "text": "",
    "timestamp with time zone": datetime(2026, 1, 1, tzinfo=UTC),
    "uuid": DELETION,
}


def test_every_trigger_function_sets_its_own_search_path(database: tuple[str, str]):
    url, _ = database
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT proconfig FROM pg_proc JOIN pg_trigger ON tgfoid = pg_proc.oid"
            " WHERE NOT tgisinternal"
        )
        found = cursor.fetchall()
        cursor.execute("SELECT current_schema()")
        [(schema,)] = cursor.fetchall()
        assert found == [([f"search_path=pg_catalog, {schema}, pg_temp"],)]


def test_doctor_finds_nothing_wrong_with_the_role(database: tuple[str, str], tmp_path: Path):
    url, role = database
    found = doctor(url, role=role, data_dir=tmp_path)
    assert (found["database role"]["level"], found["migrations"]["level"]) == ("ok", "ok")


def test_doctor_warns_of_a_role_that_could_bypass_the_triggers(
    database: tuple[str, str], tmp_path: Path
):
    url, role = database
    with psycopg.connect(url, autocommit=True) as connection:
        who = {"r": sql.Identifier(role), "d": sql.Identifier(connection.info.dbname)}
        for grant in (
            "GRANT TEMPORARY ON DATABASE {d} TO {r}",
            "GRANT CREATE ON SCHEMA public TO {r}",
            "ALTER TABLE connections_attempt OWNER TO {r}",
        ):
            connection.execute(sql.SQL(grant).format(**who))
    found = doctor(url, role=role, data_dir=tmp_path)["database role"]
    assert found["level"] == "warning"
    for permission in ("create temporary tables", "create tables", "change or drop tables"):
        assert permission in found["message"]


def doctor(url: str, *, role: str, data_dir: Path) -> dict[str, dict[str, str]]:
    """The findings of `doctor` for this role, by check."""
    create_private_text(data_dir / "keyring.json", new_key_ring_text())
    as_role = url_as(url, role)
    environment = SharedDatabase(url=as_role, data_dir=data_dir).environment()
    done = manage("doctor", "--json", env=environment)
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
