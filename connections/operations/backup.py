"""Backs up an SQLite database while the service runs, and restores a backup.

A backup is a directory with two files of mode 0600: the database and a manifest that describes it.
It never contains the key ring, because the two together can decrypt every stored key. It contains
no sessions either: they say where people were signed in, and `restore` ends them anyway. The
manifest detects damage but not forgery, because it is not signed.
"""

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.utils import load_backend

from connections import __version__, audit
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import DomainError
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.core.text import format_time
from connections.crypto.encrypted_fields import key_ids_in_use
from connections.crypto.encryption import KeyRingError, read_key_ring
from connections.models import (
    PersonSession,
)
from connections.operations import restored, schema
from connections.operations.heartbeats import ALIVE_WITHIN

FORMAT = "orgadmin backup 1"
DATABASE_NAME = "orgadmin.sqlite3"
MANIFEST_NAME = "manifest.json"
TABLES_WORTH_KEEPING = ("connections_person", "connections_credential", "connections_deletion")
HEARTBEAT_TABLE = "connections_workerheartbeat"
CHUNK_BYTES = 1024 * 1024
KEPT_COPIES = 5
COUNTED = {
    "people": "connections.Person",
    "credentials": "connections.Credential",
    "deletions": "connections.Deletion",
    "attempts": "connections.Attempt",
    "audit_events": "connections.AuditEvent",
}


class BackupError(DomainError):
    """No backup was made or restored. The message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup contains. Counts and key IDs are read from the copy itself."""

    made_at: str
    version: str
    sha256: str
    # In bytes.
    size: int
    # The newest migration of each app.
    schema: dict[str, str]
    key_ids: list[str]
    counts: dict[str, int]

    @property
    def made_at_text(self) -> str:
        """When it was made, as people read it."""
        return format_time(datetime.fromisoformat(self.made_at))


def _require_sqlite() -> None:
    """Raise BackupError for PostgreSQL, which has its own backup tools."""
    if connection.vendor != "sqlite":
        raise BackupError(
            "This command is for SQLite. Nothing was changed. With PostgreSQL, use pg_dump and "
            "pg_restore: see docs/OPERATIONS.md, “Backups”."
        )


def get_database_path() -> Path:
    """The SQLite file that this process uses."""
    return Path(connection.settings_dict["NAME"])


def make_backup(*, directory: Path, actor: Actor) -> Manifest:
    """Copy the database into a new or empty directory, check the copy, and record it.

    Other processes can write in the meantime, because the copy is a consistent snapshot. The audit
    event is recorded after the copy, so the copy lacks it. A database older than this version gets
    no event.

    Raises BackupError, OSError and sqlite3.Error, with no backup left behind, and PrivateFileError.
    """
    _require_sqlite()
    if not connection.introspection.table_names():
        raise BackupError("Nothing to back up: there is no database yet.")
    _check_directory(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = directory / DATABASE_NAME
    copy_database(source=get_database_path(), target=copy)
    try:
        manifest = _build_manifest(copy)
        document = {"format": FORMAT, "database": DATABASE_NAME} | asdict(manifest)
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        create_private_text(directory / MANIFEST_NAME, Secret(text))
    except BaseException:
        copy.unlink()
        raise
    if schema.read_schema().has_migrations:
        audit.record(
            code=audit.EventCode.DATABASE_BACKED_UP,
            actor=actor,
            sentence=audit.Sentence(
                "{actor} backed up the database.",
            ),
            details={"sha256": manifest.sha256, "size": manifest.size, "counts": manifest.counts},
        )
    return manifest


def _check_directory(directory: Path) -> None:
    if Path(settings.KEYRING_FILE).resolve().is_relative_to(directory.resolve()):
        raise BackupError(
            f"{directory} holds the key ring {settings.KEYRING_FILE}. Together with a backup it "
            "decrypts every stored key. Choose another directory."
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BackupError(f"{directory} isn't empty. Choose a new directory for each backup.")


def _build_manifest(copy: Path) -> Manifest:
    with copy.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with using_database(copy, mode=_READ):
        tables = set(connection.introspection.table_names())
        models = {name: apps.get_model(label) for name, label in COUNTED.items()}
        return Manifest(
            made_at=clock.now().isoformat(timespec="seconds"),
            version=__version__,
            sha256=sha256,
            size=copy.stat().st_size,
            schema=_newest_migrations(),
            key_ids=sorted(key_ids_in_use()),
            counts={
                name: model._base_manager.count()
                for name, model in models.items()
                if model._meta.db_table in tables
            },
        )


def _newest_migrations() -> dict[str, str]:
    applied = MigrationLoader(connection).applied_migrations
    return {app: max(name for a, name in applied if a == app) for app, _ in sorted(applied)}


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the backup in a directory. Raises BackupError."""
    path = directory / MANIFEST_NAME
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        is_ours = (document.pop("format"), document.pop("database")) == (FORMAT, DATABASE_NAME)
        manifest = Manifest(**document)
        datetime.fromisoformat(manifest.made_at)
    except OSError as error:
        raise BackupError(f"Can't read {path}: {error.strerror}. Nothing was changed.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        is_ours = False
    if not is_ours:
        raise BackupError(f"{path} isn't the manifest of a backup. Nothing was changed.")
    return manifest


# Without `immutable`, SQLite would create lock files next to a backup.
_READ, _WRITE = "immutable=1", "mode=rw"


@contextmanager
def using_database(file: Path, *, mode: str) -> Iterator[None]:
    """Let the models of this thread use another SQLite file."""
    current = connections[DEFAULT_DB_ALIAS]
    backend = load_backend(current.settings_dict["ENGINE"])
    options = {"transaction_mode": "IMMEDIATE"}
    name = f"{_uri_of(file)}?{mode}"
    other = backend.DatabaseWrapper(current.settings_dict | {"NAME": name, "OPTIONS": options})
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        other.close()
        connections[DEFAULT_DB_ALIAS] = current


def _uri_of(file: Path) -> str:
    return f"file:{quote(str(file.resolve()))}"


# --- Copying --------------------------------------------------------------------------------


def copy_database(*, source: Path, target: Path) -> None:
    """Copy an SQLite file that might be in use to a new file of mode 0600, and check the copy.

    The copy has no sessions, and no deleted data in its free space. Raises OSError (also if
    `target` exists), sqlite3.Error, and BackupError if the copy is damaged. No copy is left then.
    """
    with closing(sqlite3.connect(f"{_uri_of(source)}?mode=rw", uri=True)) as connected:
        _copy_from(connected, target=target)
    try:
        _check_integrity(target)
        _remove_sessions(target)
    except BaseException:
        target.unlink()
        raise


def _remove_sessions(copy: Path) -> None:
    table = PersonSession._meta.db_table
    with closing(sqlite3.connect(copy)) as opened:
        if opened.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
            opened.execute(f"DELETE FROM {table}")  # noqa: S608 - the table's own name
            opened.commit()
        # Free space still contains these rows and rows that were deleted earlier.
        opened.execute("VACUUM")


def _copy_from(source: sqlite3.Connection, *, target: Path) -> None:
    """Copy an open database to a new file of mode 0600 as it is, including any damage."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(target)) as new:
            source.backup(new)
            # Makes a single file that is complete without a write-ahead log.
            new.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        target.unlink()
        raise


def _check_integrity(file: Path) -> None:
    """Let SQLite check a whole file. Raises BackupError if it is damaged."""
    try:
        with closing(sqlite3.connect(f"{_uri_of(file)}?immutable=1", uri=True)) as opened:
            problems = [row[0] for row in opened.execute("PRAGMA integrity_check(5)")]
            orphans = opened.execute("PRAGMA foreign_key_check").fetchmany(5)
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{file} isn't an intact SQLite database: {error}.") from None
    if problems != ["ok"] or orphans:
        details = "; ".join(problems if problems != ["ok"] else map(str, orphans))
        raise BackupError(f"{file} is damaged. SQLite reports: {details}.")


def copy_before_migrating(*, now: datetime) -> Path | None:
    """Copy the SQLite file into `backups` of the data directory. None if the database is empty.

    Keeps the last five of these copies. Raises what `copy_database` raises.
    """
    if not connection.introspection.table_names():
        return None
    copy = _new_copy_path(name="orgadmin", now=now)
    copy_database(source=get_database_path(), target=copy)
    for outdated in sorted(copy.parent.glob("orgadmin-*.sqlite3"))[:-KEPT_COPIES]:
        outdated.unlink()
    return copy


@contextmanager
def exclusive_copy(target: Path) -> Iterator[None]:
    """Copy the SQLite file to `target`. No other process can open it until this block ends.

    Raises BackupError if one has it open, or if a worker or a command was seen lately.
    """
    source = get_database_path()
    connection.close()
    with _exclusive_connection(source) as database:
        _require_no_live_worker(database, target=source)
        _copy_from(database, target=target)
        yield


def _new_copy_path(*, name: str, now: datetime) -> Path:
    """A path for a new copy in `backups` of the data directory. Creates `backups`."""
    directory: Path = settings.DATA_DIR / "backups"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory / f"{name}-{now:%Y%m%dT%H%M%S%f}Z.sqlite3"


# --- Restoring ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """What was restored. `missing_key_ids` must be on the key ring before the service starts."""

    manifest: Manifest
    database: Path
    # The copy of the previous database, if that contained anything worth keeping.
    kept: Path | None
    missing_key_ids: list[str]
    # How many open deletions were closed as unresolved, because they could have been sent since.
    unresolved: int


def restore_backup(*, directory: Path, actor: Actor, replace: bool) -> RestoreResult:
    """Replace the database with the backup in a directory, migrated to this version.

    A database that contains people, credentials or deletions is replaced only with `replace`, and
    is first copied to `backups` of the data directory. Every session and one-time link ends. A
    deletion that was open when the backup was made and could have been sent since is closed as
    unresolved.

    Raises BackupError, OSError and sqlite3.Error. The database is unchanged then.
    """
    _require_sqlite()
    manifest = read_manifest(directory)
    target = get_database_path()
    connection.close()
    with _checked_copy(directory, manifest=manifest, target=target) as copy:
        key_ids = _read_key_ids(copy)
        unresolved = _bring_up_to_date(copy, manifest=manifest, actor=actor)
        copy_to = _new_copy_path(name="replaced", now=datetime.now(UTC)) if replace else None
        previous = _replace_database(copy, target=target, copy_to=copy_to)
    return RestoreResult(
        manifest=manifest,
        database=target,
        kept=previous,
        missing_key_ids=sorted(key_ids - _available_key_ids()),
        unresolved=unresolved,
    )


@contextmanager
def _checked_copy(directory: Path, *, manifest: Manifest, target: Path) -> Iterator[Path]:
    """A copy of the backup next to the database, checked against the manifest."""
    descriptor, name = tempfile.mkstemp(prefix=".restore-", dir=target.parent)
    copy = Path(name)
    try:
        digest, size = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as new, (directory / DATABASE_NAME).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += new.write(chunk)
        if (digest.hexdigest(), size) != (manifest.sha256, manifest.size):
            raise BackupError(
                f"{directory / DATABASE_NAME} differs from its manifest (SHA-256 "
                f"{digest.hexdigest()}, {size} bytes): it is damaged or was replaced. Nothing was "
                "changed."
            )
        _check_integrity(copy)
        yield copy
    finally:
        copy.unlink()


def _read_key_ids(copy: Path) -> set[str]:
    with using_database(copy, mode=_READ):
        if schema.read_schema().fit is not schema.Fit.OLDER:
            _require_usable_schema()
        return key_ids_in_use()


def _require_usable_schema() -> None:
    database_schema = schema.read_schema()
    if not database_schema.is_usable:
        raise BackupError(
            f"The backup can't be restored. {database_schema.problem}. Nothing was changed. "
            f"{database_schema.hint}"
        )


def _replace_database(copy: Path, *, target: Path, copy_to: Path | None) -> Path | None:
    """Replace the database in one transaction. Return the copy of the old one, if it was kept."""
    existed = target.exists()
    if not existed:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with _exclusive_connection(target) as database:
            previous = _keep_current_data(database, target=target, copy_to=copy_to)
            with closing(sqlite3.connect(f"{_uri_of(copy)}?immutable=1", uri=True)) as new:
                new.backup(database)
    except BaseException:
        if not existed:
            target.unlink()
        raise
    return previous


def _keep_current_data(
    database: sqlite3.Connection, *, target: Path, copy_to: Path | None
) -> Path | None:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
    if HEARTBEAT_TABLE in tables:
        _require_no_live_worker(database, target=target)
    has_data = any(
        database.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]  # noqa: S608 - our names
        for table in TABLES_WORTH_KEEPING
        if table in tables
    )
    if not has_data:
        return None
    if copy_to is None:
        raise BackupError(
            f"{target} contains people, credentials or deletions. Nothing was changed. Add "
            "--replace to save a copy of it and replace it."
        )
    _copy_from(database, target=copy_to)
    return copy_to


def _require_no_live_worker(database: sqlite3.Connection, *, target: Path) -> None:
    # Between two passes, a worker has no file open. It would record what it sends in the meantime
    # in the database that is being replaced.
    query = f"SELECT strftime('%s', 'now') - strftime('%s', MAX(seen_at)) FROM {HEARTBEAT_TABLE}"  # noqa: S608 - our name
    [seconds] = database.execute(query).fetchone()
    alive_seconds = ALIVE_WITHIN.total_seconds()
    if seconds is not None and seconds <= alive_seconds:
        raise BackupError(
            f"A worker or command of {target} was running {seconds} s ago. Nothing was changed. "
            "Stop the service, its workers and commands. If none is running, wait "
            f"{alive_seconds / 60:.0f} min."
        )


@contextmanager
def _exclusive_connection(target: Path) -> Iterator[sqlite3.Connection]:
    """A connection that locks out every other process until it is closed."""
    with closing(sqlite3.connect(target, timeout=2, isolation_level=None)) as database:
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Leaving WAL mode requires exclusive access, so this fails while another is connected.
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("COMMIT")
        except sqlite3.OperationalError:
            raise BackupError(
                f"{target} is in use. Nothing was changed. Stop the service and its workers first."
            ) from None
        except sqlite3.DatabaseError as error:
            raise BackupError(
                f"{target} isn't a usable SQLite database ({error}). Nothing was changed. Move it "
                "and its -wal file away, then try again."
            ) from None
        try:
            yield database
        finally:
            database.execute("PRAGMA journal_mode = WAL")


def _bring_up_to_date(copy: Path, *, manifest: Manifest, actor: Actor) -> int:
    """Migrate the copy and apply what a restore implies. Return how many requests were closed."""
    with using_database(copy, mode=_WRITE):
        call_command("migrate", interactive=False, verbosity=0)
        _require_usable_schema()
        return restored.follow_restore(
            actor=actor,
            source=f"a backup of {manifest.made_at_text}",
            details={"sha256": manifest.sha256, "made_at": manifest.made_at},
        )


def _available_key_ids() -> frozenset[str]:
    """The IDs on the key ring. Empty if the ring is missing or unusable, which a start reports."""
    try:
        return read_key_ring(Path(settings.KEYRING_FILE)).key_ids
    except KeyRingError:
        return frozenset()
