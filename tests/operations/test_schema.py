"""The database's schema is compared with this version's before anything fails."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import ERROR, INFO, WARNING
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection, migrations
from django.db.migrations.state import ProjectState
from django.test import Client

from connections.models import AppliedMigration
from connections.models.released_migrations import ReleasedMigration
from connections.operations import checks, schema
from connections.operations.schema import Fit
from connections.web.framework import middleware
from tests.support.processes import clean_environment, manage

pytestmark = [pytest.mark.django_db, pytest.mark.database]

EXPORT_FIRST = "run export_audit and make_evidence_bundle"


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def add_migration(name: str, *, release: str) -> None:
    """Add a migration of a later release, whose files this version lacks."""
    AppliedMigration.objects.create(name=name, sha256="0" * 64, release=release)
    execute(
        "INSERT INTO django_migrations (app, name, applied)"  # noqa: S608 - a constant
        f" VALUES ('connections', '{name}', CURRENT_TIMESTAMP)"
    )


def assert_refused(client: Client, *, fit: Fit, text: str) -> None:
    """Every place that compares the schema says so in the same sentence."""
    found = schema.read_schema()
    assert (found.fit, bool(re.search(text, found.text))) == (fit, True), found
    with pytest.raises(schema.SchemaError, match=text):
        schema.require_usable_schema()
    response = client.get("/readyz")
    # Anyone can ask, so it names no role, table or trigger.
    shown = middleware.SCHEMA_PROBLEM if fit is Fit.ALTERED else found.text
    assert (response.status_code, response.text) == (503, f"{shown}\n")
    [finding] = [check for check in checks.run_all_checks() if check.obj == "migrations"]
    assert (finding.level, finding.msg) == (ERROR, found.problem)


def test_a_migrated_database_has_exactly_the_schema_of_this_version():
    assert schema.read_schema() == schema.Schema(fit=Fit.SAME)
    present = schema._present_objects()
    expected = schema.expected_objects(connection.vendor)
    # Nothing that the migrations make is left out, except what has no name of ours.
    unknown = {
        (kind, name)
        for kind, name in present.keys() - expected
        if kind == "trigger" or (kind == "column" and name.startswith(schema.PREFIX))
    }
    assert all("_search" in name for _, name in unknown)
    [finding] = [check for check in checks.run_all_checks() if check.obj == "migrations"]
    assert finding.level == INFO


def test_an_older_database_has_to_be_migrated(client: Client):
    execute("DELETE FROM django_migrations WHERE app = 'mfa'")
    assert_refused(client, fit=Fit.OLDER, text="older than this version.*manage migrate")


def test_a_database_of_the_next_release_works_and_doctor_warns(client: Client):
    add_migration("0100_next", release="9.1.0")
    add_migration("0101_next", release="9.1.0")
    # The next release can have replaced it.
    execute("DROP INDEX event_of_code")
    schema.require_usable_schema()
    assert client.get("/readyz").status_code == 200
    [finding] = [check for check in checks.run_all_checks() if check.obj == "migrations"]
    assert (finding.level, "release 9.1.0, the next" in finding.msg) == (WARNING, True)


def test_a_database_newer_by_two_releases_is_refused(client: Client):
    add_migration("0100_next", release="9.9.0")
    add_migration("0101_next", release="9.10.0")
    assert_refused(client, fit=Fit.TOO_NEW, text=r"of release 9\.10\.0.*Start release 9\.9\.0 or")


def test_a_database_of_a_build_before_1_0_is_refused(client: Client):
    AppliedMigration.objects.all().delete()
    assert_refused(client, fit=Fit.FOREIGN, text=f"before 1.0.*{EXPORT_FIRST}")
    with pytest.raises(CommandError, match=r"before 1\.0.*Nothing was changed"):
        call_command("migrate")


def test_a_database_of_an_unreleased_build_is_refused(client: Client):
    AppliedMigration.objects.filter(name="0001_initial").update(sha256="0" * 64)
    assert_refused(client, fit=Fit.FOREIGN, text=f"before 1.0.*{EXPORT_FIRST}")


TRIGGER = "connections_attempt_response"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (f"DROP TRIGGER {TRIGGER}", f"trigger {TRIGGER}"),
        ("DROP INDEX event_of_code", "index event_of_code"),
        (
            "ALTER TABLE connections_person RENAME COLUMN has_break_glass TO may_break_glass",
            "column connections_person.has_break_glass",
        ),
    ],
)
def test_what_is_missing_is_named(client: Client, statement: str, name: str):
    if statement.startswith("DROP TRIGGER") and connection.vendor == "postgresql":
        statement += " ON connections_attempt"
    execute(statement)
    assert_refused(client, fit=Fit.ALTERED, text=f"lacks, or has disabled, {name}, although")
    assert not [check for check in checks.run_all_checks() if "not available" in check.msg]


def test_a_disabled_trigger_is_named(client: Client):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite disables no triggers")
    execute(f"ALTER TABLE connections_attempt DISABLE TRIGGER {TRIGGER}")
    assert_refused(client, fit=Fit.ALTERED, text=f"has disabled, trigger {TRIGGER}, although")


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        ("connections_change", "connections_change. "),
        ("django_migrations", "django_migrations. "),
        ("ALL TABLES IN SCHEMA public", "account_emailaddress, .* more. "),
    ],
)
def test_a_role_that_cannot_read_a_table_is_told_what_to_do(
    client: Client, revoked: str, named: str
):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no roles")
    execute("CREATE ROLE unprivileged")
    execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO unprivileged")
    execute(f"REVOKE SELECT ON {revoked} FROM unprivileged")  # noqa: S608 - ours
    execute("SET LOCAL ROLE unprivileged")
    text = f"can't read {named}.*ORGADMIN_DB_APP_ROLE"
    assert_refused(client, fit=Fit.ALTERED, text=text)


def test_a_migration_waits_ten_seconds_for_a_lock(monkeypatch: pytest.MonkeyPatch):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one lock")
    seen: list[str] = []

    def read_timeout(apps: object, schema_editor: Any) -> None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.extend(cursor.fetchone())

    class Next(ReleasedMigration):
        release = "9.1.0"
        operations = [migrations.RunPython(read_timeout)]

    with connection.schema_editor() as editor:
        Next("0100_next", "connections").apply(ProjectState(), editor)
    assert seen == ["10s"]
    assert AppliedMigration.objects.get(name="0100_next").release == "9.1.0"

    def fail(*args: object, **options: object) -> None:
        raise OperationalError("canceling statement due to lock timeout")

    monkeypatch.setattr("django.core.management.commands.migrate.Command.handle", fail)
    with pytest.raises(CommandError, match="held a lock for 10 s, so a migration was undone"):
        call_command("migrate")


@pytest.mark.parametrize("command", [["worker", "--once"], ["serve"], ["add_person"]])
def test_no_process_starts_with_another_schema(migrated_directory: Path, command: list[str]):
    env = clean_environment(data_dir=migrated_directory, PORT="0")
    statement = "ALTER TABLE connections_person RENAME COLUMN has_break_glass TO may_break_glass"
    code = f"from django.db import connection; connection.cursor().execute('{statement}')"
    assert manage("shell", "--command", code, env=env).returncode == 0
    more = ["--username", "ada", "--email", "ada@example.com"] if command == ["add_person"] else []
    done = manage(*command, *more, env=env)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "lacks, or has disabled, column connections_person.has_break_glass" in line
