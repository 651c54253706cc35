"""Backs up an SQLite database while the service runs, and checks each copy.

A backup is a directory with two files of mode 0600: the database and a manifest that describes
it. It never contains the key ring, because the two together decrypt every stored key. It contains
no sessions either: `restore` ends them anyway, and they say where people were signed in. The
manifest detects damage, not forgery: it is not signed.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.utils import load_backend

from connections import __version__, audit
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.core import clock
from connections.core.errors import DomainError
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.crypto.encrypted_fields import key_ids_in_use
from connections.models import PersonSession

FORMAT = "orgadmin backup 1"
DATABASE_NAME = "orgadmin.sqlite3"
MANIFEST_NAME = "manifest.json"
KEPT_COPIES = 5
COUNTED = {
    "people": "connections.Person",
    "credentials": "connections.Credential",
    "deletions": "connections.Deletion",
    "attempts": "connections.Attempt",
    "audit_events": "connections.AuditEvent",
}


class BackupError(DomainError):
    """No backup was made or restored; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup holds. Counts and key IDs are read from the copy itself."""

    made_at: str
    version: str
    sha256: str
    # Bytes.
    size: int
    # App → its newest migration.
    schema: dict[str, str]
    key_ids: list[str]
    counts: dict[str, int]


def require_sqlite() -> None:
    """Raise BackupError with PostgreSQL, which has its own tools for this."""
    if connection.vendor != "sqlite":
        raise BackupError(
            "This is for SQLite. With PostgreSQL use pg_dump and pg_restore: "
            "docs/OPERATIONS.md, “Backups”, says how. Nothing was done."
        )


def get_database_path() -> Path:
    """The SQLite file that this process uses."""
    return Path(connection.settings_dict["NAME"])


def make_backup(*, directory: Path, actor: Actor) -> Manifest:
    """Copy the database into a new or empty directory, check the copy, and record it.

    Other processes can write meanwhile: the copy is a consistent snapshot. The audit event is
    recorded afterwards, so the copy lacks it; a database that is older than this version gets
    none.

    Raises BackupError, OSError and sqlite3.Error, with no backup left behind, and
    PrivateFileError.
    """
    require_sqlite()
    if not connection.introspection.table_names():
        raise BackupError("There is no database yet, so there is nothing to back up.")
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
    pending, _ = compare_migrations()
    if not pending:
        audit.record(
            code=audit.EventCode.DATABASE_BACKED_UP,
            actor=actor,
            sentence=audit.Sentence(
                "{actor} backed up the database.",
                actor=personal_data.name_of(actor),
            ),
            details={"sha256": manifest.sha256, "size": manifest.size, "counts": manifest.counts},
        )
    return manifest


def _check_directory(directory: Path) -> None:
    if Path(settings.KEYRING_FILE).resolve().is_relative_to(directory.resolve()):
        raise BackupError(
            f"The key ring {settings.KEYRING_FILE} lies in {directory}. The two together open "
            "every stored key, so a backup is never put beside it. Name another directory."
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BackupError(f"{directory} is not empty. Name a new directory for each backup.")


def _build_manifest(copy: Path) -> Manifest:
    with copy.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with reading_database(copy):
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


def compare_migrations() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Migrations that the database lacks, and applied ones that this version doesn't know."""
    loader = MigrationLoader(connection)
    known, applied = set(loader.disk_migrations or {}), set(loader.applied_migrations)
    return known - applied, applied - known


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the backup in a directory. Raises BackupError."""
    path = directory / MANIFEST_NAME
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        is_ours = (document.pop("format"), document.pop("database")) == (FORMAT, DATABASE_NAME)
        manifest = Manifest(**document)
    except OSError as error:
        raise BackupError(f"Cannot read {path} ({error.strerror}). Nothing was changed.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        is_ours = False
    if not is_ours:
        raise BackupError(f"{path} is no manifest of a backup. Nothing was changed.")
    return manifest


@contextmanager
def reading_database(file: Path) -> Iterator[None]:
    """Let the models of this thread read another SQLite file that no process writes."""
    # Without `immutable` SQLite would create lock files beside a backup.
    with _using_database(f"{uri_of(file)}?immutable=1"):
        yield


@contextmanager
def writing_database(file: Path) -> Iterator[None]:
    """Let the models of this thread read and write another SQLite file."""
    with _using_database(f"{uri_of(file)}?mode=rw"):
        yield


@contextmanager
def _using_database(uri: str) -> Iterator[None]:
    current = connections[DEFAULT_DB_ALIAS]
    backend = load_backend(current.settings_dict["ENGINE"])
    options = {"transaction_mode": "IMMEDIATE"}
    other = backend.DatabaseWrapper(current.settings_dict | {"NAME": uri, "OPTIONS": options})
    connections[DEFAULT_DB_ALIAS] = other
    try:
        yield
    finally:
        other.close()
        connections[DEFAULT_DB_ALIAS] = current


def uri_of(file: Path) -> str:
    """The SQLite URI of a file, without parameters."""
    return f"file:{quote(str(file.resolve()))}"


# --- Copying --------------------------------------------------------------------------------


def copy_database(*, source: Path, target: Path) -> None:
    """Copy an SQLite file that may be in use to a new file of mode 0600, and check the copy.

    The copy has no sessions, and no deleted data in its free space. Raises OSError (also when
    `target` exists), sqlite3.Error, and BackupError when the copy is damaged; no copy is left
    then.
    """
    with closing(sqlite3.connect(f"{uri_of(source)}?mode=rw", uri=True)) as connected:
        copy_from(connected, target=target)
    try:
        check_integrity(target)
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
        # Free space still holds these rows and earlier deleted ones.
        opened.execute("VACUUM")


def copy_from(source: sqlite3.Connection, *, target: Path) -> None:
    """Copy an open database to a new file of mode 0600 as it is, including any damage."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(target)) as new:
            source.backup(new)
            # A single file, complete without a write-ahead log.
            new.execute("PRAGMA journal_mode = DELETE")
    except BaseException:
        target.unlink()
        raise


def check_integrity(file: Path) -> None:
    """Let SQLite check a whole file. Raises BackupError when it is damaged."""
    try:
        with closing(sqlite3.connect(f"{uri_of(file)}?immutable=1", uri=True)) as opened:
            problems = [row[0] for row in opened.execute("PRAGMA integrity_check(5)")]
            orphans = opened.execute("PRAGMA foreign_key_check").fetchmany(5)
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{file} is no whole SQLite database: {error}.") from None
    if problems != ["ok"] or orphans:
        details = "; ".join(problems if problems != ["ok"] else map(str, orphans))
        raise BackupError(f"{file} is damaged, as SQLite says: {details}.")


def copy_before_migrating(*, now: datetime) -> Path | None:
    """Copy the SQLite file into `backups` of the data directory; None while it is empty.

    The last five of these copies are kept. Raises what `copy_database` raises.
    """
    if not connection.introspection.table_names():
        return None
    copy = new_copy_path(name="orgadmin", now=now)
    copy_database(source=get_database_path(), target=copy)
    for outdated in sorted(copy.parent.glob("orgadmin-*.sqlite3"))[:-KEPT_COPIES]:
        outdated.unlink()
    return copy


def new_copy_path(*, name: str, now: datetime) -> Path:
    """A path for a new copy in `backups` of the data directory, which is created."""
    directory: Path = settings.DATA_DIR / "backups"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory / f"{name}-{now:%Y%m%dT%H%M%S%f}Z.sqlite3"
