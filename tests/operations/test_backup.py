"""A backup is complete, lacks the key ring, and can be restored as a working database."""

import hashlib
import json
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from connections.access.actor import command_actor
from connections.models import (
    ApiToken,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Credential,
    Deletion,
    Person,
    PersonSession,
    Role,
    SignInLink,
    State,
    WorkerHeartbeat,
)
from connections.operations.backup import (
    FORMAT,
    BackupError,
    Manifest,
    RestoreResult,
    copy_before_migrating,
    copy_database,
    make_backup,
    read_manifest,
    restore_backup,
    using_database,
)
from tests.support.api_tokens import make_token_of
from tests.support.key_rings import make_key_ring, primary_in, stored_credential
from tests.support.people import make_person

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not django_settings.DATABASE_IS_SQLITE, reason="it is about SQLite's file"),
]


def empty_database(path: Path, *migrations: str) -> Path:
    path.touch(mode=0o600)
    with using_database(path, mode="mode=rw"):
        call_command("migrate", *migrations, interactive=False, verbosity=0)
    return path


@pytest.fixture(scope="session")
def migrated(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Path:
    """A database file with all tables, empty."""
    with django_db_blocker.unblock():
        return empty_database(tmp_path_factory.mktemp("migrated") / "orgadmin.sqlite3")


@pytest.fixture
def database(db: None, migrated: Path, tmp_path: Path, settings: Settings) -> Iterator[Path]:
    """A data directory with a key ring and an empty database that the models use."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    settings.KEYRING_FILE = make_key_ring(settings.DATA_DIR / "keyring.json")
    path = settings.DATA_DIR / "orgadmin.sqlite3"
    shutil.copy(migrated, path)
    test_connection = connections[DEFAULT_DB_ALIAS]
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON;",
    }
    connections[DEFAULT_DB_ALIAS] = DatabaseWrapper(
        test_connection.settings_dict | {"NAME": str(path), "OPTIONS": options}
    )
    yield path
    connection.close()
    connections[DEFAULT_DB_ALIAS] = test_connection


def stored_deletion(
    state: State = State.REQUESTED, *, policy: ApprovalPolicy = ApprovalPolicy.NONE
) -> Deletion:
    credential = Credential.objects.first() or stored_credential()
    return Deletion.objects.create(
        request_id=uuid4(),
        site=credential.site,
        connection_id=uuid4(),
        credential=credential,
        credential_name=credential.name,
        is_reviewed=True,
        reason="no longer needed",
        policy=policy,
        state=state,
        requested_at=timezone.now(),
        requested_by_name="Ada",
        connection_types=["logs"],
        search_text="no longer needed",
    )


def back_up(directory: Path) -> Manifest:
    return make_backup(directory=directory, actor=command_actor())


def restore(directory: Path, *, replace: bool = False) -> RestoreResult:
    return restore_backup(directory=directory, actor=command_actor(), replace=replace)


def start_with_empty_database(database: Path, migrated: Path) -> None:
    """Replace the database with an empty one, as on a new machine."""
    connection.close()
    for path in database.parent.glob("orgadmin.sqlite3*"):
        path.unlink()
    shutil.copy(migrated, database)


def contents(database: Path) -> list[str]:
    """Every row of the file, read by another connection."""
    connection.close()
    with closing(sqlite3.connect(database)) as opened:
        return list(opened.iterdump())


def rewrite_manifest(directory: Path, **values: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# --- backup ---------------------------------------------------------------------------------


def test_a_backup_is_two_private_files_with_a_manifest_of_their_contents(
    database: Path, tmp_path: Path
):
    make_person("ada")
    deletion = stored_deletion()
    Attempt.objects.create(
        deletion=deletion,
        number=1,
        epoch=1,
        credential_name="x",
        credential_fingerprint="y",
        was_rechecked=True,
        claimed_at=timezone.now(),
    )
    directory = tmp_path / "backups" / "monday"

    manifest = back_up(directory)

    copy = directory / "orgadmin.sqlite3"
    assert sorted(path.name for path in directory.iterdir()) == ["manifest.json", copy.name]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())]
    assert modes == [0o700, 0o600, 0o600]
    assert manifest.sha256 == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert manifest.size == copy.stat().st_size
    assert manifest.key_ids == [primary_in(django_settings.KEYRING_FILE)]
    counted = {"people": 1, "credentials": 1, "deletions": 1, "attempts": 1, "audit_events": 0}
    assert manifest.counts == counted
    assert manifest.schema["connections"] == max(
        path.stem for path in (django_settings.BASE_DIR / "connections/migrations").glob("0*.py")
    )
    document = json.loads((directory / "manifest.json").read_text())
    assert document == {"format": FORMAT, "database": copy.name} | asdict(manifest)


def test_a_backup_is_recorded_with_its_digest_and_names_the_keys_to_keep(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stored_credential()
    manifest = back_up(tmp_path / "backup")
    event = AuditEvent.objects.get(code="database.backed_up")
    assert event.details["sha256"] == manifest.sha256
    assert event.actor_kind == "command"
    call_command("backup", output=tmp_path / "another")
    assert f"(keys in use: {primary_in(django_settings.KEYRING_FILE)})." in capsys.readouterr().out


def test_a_backup_next_to_the_key_ring_is_refused(database: Path, tmp_path: Path):
    for directory in (database.parent, tmp_path, database.parent / ".." / "data"):
        with pytest.raises(BackupError, match=r"key ring .*keyring\.json.* Choose another"):
            back_up(directory)
    assert not list(tmp_path.rglob("manifest.json"))


def test_a_backup_needs_a_new_or_empty_directory(database: Path, tmp_path: Path):
    directory = tmp_path / "backup"
    back_up(directory)
    before = (directory / "orgadmin.sqlite3").read_bytes()
    make_person("ada")
    with pytest.raises(BackupError, match="isn't empty"):
        back_up(directory)
    assert (directory / "orgadmin.sqlite3").read_bytes() == before


def test_a_backup_is_consistent_while_other_processes_write(database: Path, tmp_path: Path):
    with closing(sqlite3.connect(database)) as opened:
        # As Django sets it up. Switching to WAL while another connection writes fails at once.
        opened.execute("PRAGMA journal_mode = WAL")
        opened.executescript("CREATE TABLE one (n); CREATE TABLE two (n);")
    stop, has_written = Event(), Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=20)) as opened:
            while not stop.is_set():
                with opened:
                    opened.execute("INSERT INTO one VALUES (randomblob(2000))")
                    opened.execute("INSERT INTO two VALUES (randomblob(2000))")
                has_written.set()

    writer = Thread(target=write)
    writer.start()
    try:
        assert has_written.wait(20)
        for number in range(5):
            back_up(tmp_path / f"backup-{number}")
    finally:
        stop.set()
        writer.join()
    query = "SELECT (SELECT COUNT(*) FROM one), (SELECT COUNT(*) FROM two)"
    found = []
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"backup-{number}/orgadmin.sqlite3")) as opened:
            found.append(opened.execute(query).fetchone())
    assert [ones for ones, _ in found] == [twos for _, twos in found]
    assert found[0][0] < found[-1][0]


def damage(file: Path) -> None:
    """Overwrite the page of an index, in the middle of the file."""
    with closing(sqlite3.connect(file)) as opened:
        name = "sqlite_autoindex_connections_person_1"
        row = opened.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name])
        page = row.fetchone()[0]
    with file.open("r+b") as opened_file:
        opened_file.seek((page - 1) * 4096)
        opened_file.write(b"\xff" * 4096)


def test_a_damaged_copy_is_not_accepted_as_a_backup(database: Path, tmp_path: Path):
    make_person("ada")
    connection.close()
    damage(database)
    with pytest.raises(BackupError, match=r"is damaged|isn't an intact SQLite database"):
        copy_database(source=database, target=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_copies_made_before_migrations_are_checked_and_the_last_five_are_kept(database: Path):
    at = timezone.now()
    copies = [copy_before_migrating(now=at + timedelta(seconds=second)) for second in range(7)]
    assert sorted((database.parent / "backups").iterdir()) == copies[-5:]


# --- restore --------------------------------------------------------------------------------


def test_a_restored_database_contains_what_was_backed_up(
    database: Path, migrated: Path, tmp_path: Path
):
    make_person("ada")
    credential = stored_credential()
    back_up(tmp_path / "backup")
    start_with_empty_database(database, migrated)

    restored = restore(tmp_path / "backup")

    assert restored.missing_key_ids == []
    assert restored.kept is None
    assert Person.objects.get().username == "ada"
    assert Credential.objects.get().open_keys().by_field["api_key"].reveal()
    assert Credential.objects.get() == credential
    event = AuditEvent.objects.get(code="database.restored")
    assert event.details["sha256"] == restored.manifest.sha256
    assert [path.name for path in database.parent.glob(".restore-*")] == []


def test_a_new_database_is_readable_only_by_its_owner(database: Path, tmp_path: Path):
    back_up(tmp_path / "backup")
    connection.close()
    for path in database.parent.glob("orgadmin.sqlite3*"):
        path.unlink()
    restore(tmp_path / "backup")
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["person", "deletion"])
def test_a_database_with_data_is_not_overwritten(database: Path, tmp_path: Path, kind: str):
    back_up(tmp_path / "backup")
    if kind == "person":
        make_person("grace")
    else:
        stored_deletion()
    before = contents(database)
    with pytest.raises(BackupError, match="Add --replace to save a copy of it"):
        restore(tmp_path / "backup")
    assert contents(database) == before
    assert sorted(path.name for path in database.parent.iterdir()) == [
        "keyring.json",
        "orgadmin.sqlite3",
    ]


def test_replacing_keeps_a_complete_copy_of_the_old_database(database: Path, tmp_path: Path):
    make_person("ada")
    back_up(tmp_path / "backup")
    make_person("grace")
    before = contents(database)

    restored = restore(tmp_path / "backup", replace=True)

    assert [person.username for person in Person.objects.all()] == ["ada"]
    assert restored.kept
    assert contents(restored.kept) == before
    assert stat.S_IMODE(restored.kept.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('connections', '0005_four_eyes', '')",
            "a build before 1.0",
        ),
        ("DROP INDEX event_of_code", "lacks, or has disabled, index event_of_code"),
    ],
)
def test_a_backup_with_another_schema_is_refused(
    database: Path, tmp_path: Path, change: str, problem: str
):
    directory = tmp_path / "backup"
    back_up(directory)
    copy = directory / "orgadmin.sqlite3"
    with closing(sqlite3.connect(copy)) as opened, opened:
        opened.execute(change)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    rewrite_manifest(directory, sha256=digest, size=copy.stat().st_size)
    before = contents(database)
    with pytest.raises(BackupError, match=problem):
        restore(directory)
    assert contents(database) == before


def test_a_backup_of_an_older_version_is_migrated(database: Path, migrated: Path, tmp_path: Path):
    connection.close()
    for path in database.parent.glob("orgadmin.sqlite3*"):
        path.unlink()
    empty_database(database, "connections", "0001")
    back_up(tmp_path / "backup")
    assert not AuditEvent.objects.exists()
    start_with_empty_database(database, migrated)

    restore(tmp_path / "backup")

    recorded = AuditEvent.objects.order_by("seq").values_list("code", flat=True)
    assert list(recorded) == ["database.restored", "service.held"]
    call_command("migrate", "--check", verbosity=0)


def change_a_byte(directory: Path) -> None:
    with (directory / "orgadmin.sqlite3").open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))


def truncate_database(directory: Path) -> None:
    with (directory / "orgadmin.sqlite3").open("r+b") as file:
        file.truncate(8192)


def delete_manifest(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def delete_database(directory: Path) -> None:
    (directory / "orgadmin.sqlite3").unlink()


def corrupt_manifest(directory: Path) -> None:
    (directory / "manifest.json").write_text("{")


def use_unknown_format(directory: Path) -> None:
    rewrite_manifest(directory, format="orgadmin backup 2")


def point_to_another_path(directory: Path) -> None:
    rewrite_manifest(directory, database="../data/orgadmin.sqlite3")


@pytest.mark.parametrize(
    "damage_backup",
    [
        change_a_byte,
        truncate_database,
        delete_manifest,
        delete_database,
        corrupt_manifest,
        use_unknown_format,
        point_to_another_path,
    ],
)
def test_an_incomplete_backup_is_refused(database: Path, tmp_path: Path, damage_backup: Any):
    make_person("ada")
    directory = tmp_path / "backup"
    back_up(directory)
    damage_backup(directory)
    before = contents(database)
    with pytest.raises((BackupError, FileNotFoundError)):
        restore(directory, replace=True)
    assert contents(database) == before
    assert not list(database.parent.glob(".restore-*"))
    assert not list((database.parent / "backups").glob("*"))


def test_deletions_that_might_have_been_sent_since_the_backup_become_unresolved(
    database: Path, migrated: Path, tmp_path: Path
):
    expected = {
        stored_deletion(state).pk: (state in {"requested", "approved", "waiting"})
        for state in (
            State.REQUESTED,
            State.APPROVED,
            State.WAITING,
            State.SENDING,
            State.UNKNOWN,
            State.STILL_PRESENT,
        )
    }
    back_up(tmp_path / "backup")
    start_with_empty_database(database, migrated)

    assert restore(tmp_path / "backup").unresolved == 3

    found: dict[UUID, bool] = {
        deletion.pk: deletion.outcome == "unresolved" for deletion in Deletion.objects.all()
    }
    assert found == expected
    closed = Deletion.objects.filter(outcome="unresolved")
    assert all("restored from a backup" in deletion.settled_reason for deletion in closed)


def test_approvals_that_might_have_been_used_since_the_backup_do_not_count(
    database: Path, migrated: Path, tmp_path: Path
):
    policies = {stored_deletion(State.STILL_PRESENT, policy=one).pk: one for one in ApprovalPolicy}
    back_up(tmp_path / "backup")
    start_with_empty_database(database, migrated)

    restore(tmp_path / "backup")

    for deletion in Deletion.objects.all():
        needs_approval = policies[deletion.pk] != ApprovalPolicy.NONE
        assert deletion.approval_round == (2 if needs_approval else 1)
        assert deletion.state == State.STILL_PRESENT


def test_sessions_links_tokens_and_workers_of_the_backup_are_invalid(
    database: Path, migrated: Path, tmp_path: Path
):
    at = timezone.now()
    session = connections[DEFAULT_DB_ALIAS].cursor()
    session.execute(
        "INSERT INTO connections_personsession (key_hash, session_data, expire_date) "
        "VALUES ('key', 'data', '2099-01-01')"
    )
    ada = make_person("ada", Role.OPERATOR)
    make_token_of(ada)
    SignInLink.objects.create(
        purpose="sign_in",
        person=ada,
        token_hash="0" * 64,
        made_by_name="Root",
        created_at=at,
        expires_at=at + timedelta(hours=24),
    )
    WorkerHeartbeat.objects.create(name="w", host="h", process_id=1, started_at=at, seen_at=at)
    back_up(tmp_path / "backup")
    session.close()
    start_with_empty_database(database, migrated)

    restore(tmp_path / "backup")

    assert SignInLink.objects.get().used_at is not None
    assert ApiToken.objects.get().revoked_at is not None
    assert not WorkerHeartbeat.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM connections_personsession")
        assert cursor.fetchone() == (0,)


def test_nothing_is_restored_while_a_process_has_the_database_open(database: Path, tmp_path: Path):
    back_up(tmp_path / "backup")
    with closing(sqlite3.connect(database)) as other:
        other.execute("SELECT COUNT(*) FROM connections_person").fetchone()
        with pytest.raises(BackupError, match=r"is in use\. Nothing was changed\. Stop"):
            restore(tmp_path / "backup")


def test_nothing_is_restored_while_a_worker_runs(database: Path, tmp_path: Path):
    back_up(tmp_path / "backup")
    at = timezone.now()
    WorkerHeartbeat.objects.create(name="w", host="h", process_id=1, started_at=at, seen_at=at)
    with pytest.raises(BackupError, match=r"A worker .* was running \d s ago"):
        restore(tmp_path / "backup", replace=True)
    WorkerHeartbeat.objects.update(seen_at=at - timedelta(minutes=4))
    restore(tmp_path / "backup", replace=True)


def test_a_damaged_database_is_reported_and_left_in_place(database: Path, tmp_path: Path):
    back_up(tmp_path / "backup")
    connection.close()
    database.write_bytes(b"not a database" * 1000)
    with pytest.raises(BackupError, match="isn't a usable SQLite database"):
        restore(tmp_path / "backup", replace=True)
    assert database.read_bytes() == b"not a database" * 1000


def test_a_missing_key_is_reported_and_no_key_ring_is_created(
    database: Path, migrated: Path, tmp_path: Path
):
    stored_credential()
    key_id = primary_in(django_settings.KEYRING_FILE)
    back_up(tmp_path / "backup")
    start_with_empty_database(database, migrated)
    django_settings.KEYRING_FILE.unlink()

    assert restore(tmp_path / "backup").missing_key_ids == [key_id]

    assert not django_settings.KEYRING_FILE.exists()


def test_a_manifest_with_other_fields_is_refused(tmp_path: Path):
    (tmp_path / "manifest.json").write_text(
        json.dumps({"format": FORMAT, "database": "orgadmin.sqlite3", "sha256": "0"})
    )
    with pytest.raises(BackupError, match="isn't the manifest"):
        read_manifest(tmp_path)


def test_a_copy_contains_no_session_data(database: Path, tmp_path: Path):
    client = Client()
    client.force_login(make_person("ada"))
    key = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    row = PersonSession.objects.get()
    back_up(tmp_path / "backup")
    before_migrating = copy_before_migrating(now=timezone.now())
    assert before_migrating

    stored = [path for path in database.parent.iterdir() if path.is_file()]
    assert not [one.name for one in stored if key.encode() in one.read_bytes()]
    for copy in (tmp_path / "backup/orgadmin.sqlite3", before_migrating):
        policies = copy.read_bytes()
        for secret in (key, row.key_hash, row.session_data):
            assert secret.encode() not in policies
    # Sessions stay open.
    assert PersonSession.objects.get() == row


def test_a_copy_contains_no_rows_that_were_deleted_earlier(database: Path, tmp_path: Path):
    key = "an-old-session-key-in-clear-text"
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("PRAGMA secure_delete = OFF")
        with opened:
            opened.executemany(
                "INSERT INTO connections_personsession (key_hash, session_data, expire_date) "
                "VALUES (?, ?, '2099-01-01')",
                [(f"{key}-{number}", "data" * 500) for number in range(20)],
            )
        with opened:
            opened.execute("DELETE FROM connections_personsession")
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert key.encode() in database.read_bytes()
    back_up(tmp_path / "backup")
    before_migrating = copy_before_migrating(now=timezone.now())
    assert before_migrating
    for copy in (tmp_path / "backup/orgadmin.sqlite3", before_migrating):
        assert key.encode() not in copy.read_bytes()
