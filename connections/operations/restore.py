"""Replaces the database with a backup, completely or not at all."""

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from connections import audit
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.core import clock
from connections.crypto.encrypted_fields import key_ids_in_use
from connections.crypto.encryption import KeyRingError, read_key_ring
from connections.deletions import lifecycle, states
from connections.deletions.states import Settle
from connections.models import (
    ApprovalPolicy,
    Deletion,
    Outcome,
    PersonSession,
    SignInLink,
    State,
    WorkerHeartbeat,
)
from connections.operations.backup import (
    DATABASE_NAME,
    BackupError,
    Manifest,
    check_integrity,
    compare_migrations,
    copy_from,
    get_database_path,
    new_copy_path,
    read_manifest,
    reading_database,
    require_sqlite,
    uri_of,
    writing_database,
)
from connections.operations.worker import ALIVE_WITHIN

TABLES_WORTH_KEEPING = ("connections_person", "connections_credential", "connections_deletion")
HEARTBEAT_TABLE = "connections_workerheartbeat"
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """What was restored. `missing_key_ids` must be on the key ring before the service starts."""

    manifest: Manifest
    database: Path
    # The copy of the previous database, if that held anything worth keeping.
    kept: Path | None
    missing_key_ids: list[str]
    # How many open deletions were closed as unresolved: they could have been sent since.
    unresolved: int


def restore_backup(*, directory: Path, actor: Actor, replace: bool) -> RestoreResult:
    """Replace the database with the backup in a directory, migrated to this version.

    A database that holds people, credentials or deletions is replaced only with `replace`, and
    copied to `backups` of the data directory first. Every session and one-time link ends. A
    deletion that was open when the backup was made and could have been sent since is closed as
    unresolved.

    Raises BackupError, OSError and sqlite3.Error; the database is unchanged then.
    """
    require_sqlite()
    manifest = read_manifest(directory)
    target = get_database_path()
    connection.close()
    with _checked_copy(directory, manifest=manifest, target=target) as copy:
        key_ids = _read_key_ids(copy)
        unresolved = _bring_up_to_date(copy, manifest=manifest, actor=actor)
        copy_to = new_copy_path(name="replaced", now=datetime.now(UTC)) if replace else None
        kept = _replace_database(copy, target=target, copy_to=copy_to)
    return RestoreResult(
        manifest=manifest,
        database=target,
        kept=kept,
        missing_key_ids=sorted(key_ids - _available_key_ids()),
        unresolved=unresolved,
    )


@contextmanager
def _checked_copy(directory: Path, *, manifest: Manifest, target: Path) -> Iterator[Path]:
    """A copy of the backup beside the database, checked against the manifest."""
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
                f"{directory / DATABASE_NAME} is not what its manifest says (SHA-256 "
                f"{digest.hexdigest()}, {size} bytes): it was damaged or exchanged. Nothing was "
                "changed."
            )
        check_integrity(copy)
        yield copy
    finally:
        copy.unlink()


def _read_key_ids(copy: Path) -> set[str]:
    with reading_database(copy):
        _, unknown = compare_migrations()
        if unknown:
            app, name = max(unknown)
            raise BackupError(
                f"The backup is of a newer version than this one: it has the migration {app} "
                f"{name}. Restore it with that version. Nothing was changed."
            )
        return key_ids_in_use()


def _replace_database(copy: Path, *, target: Path, copy_to: Path | None) -> Path | None:
    """Replace the database in one transaction; returns the copy of the old one, if kept."""
    existed = target.exists()
    if not existed:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with _exclusive_connection(target) as held:
            kept = _keep_current_data(held, target=target, copy_to=copy_to)
            with closing(sqlite3.connect(f"{uri_of(copy)}?immutable=1", uri=True)) as new:
                new.backup(held)
    except BaseException:
        if not existed:
            target.unlink()
        raise
    return kept


def _keep_current_data(
    held: sqlite3.Connection, *, target: Path, copy_to: Path | None
) -> Path | None:
    tables = {name for (name,) in held.execute("SELECT name FROM sqlite_schema")}
    if HEARTBEAT_TABLE in tables:
        _require_no_live_worker(held, target=target)
    has_data = any(
        held.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]  # noqa: S608 - our names
        for table in TABLES_WORTH_KEEPING
        if table in tables
    )
    if not has_data:
        return None
    if copy_to is None:
        raise BackupError(
            f"{target} holds people, credentials or deletions and is not overwritten. With "
            "--replace it is copied aside and replaced. Nothing was changed."
        )
    copy_from(held, target=copy_to)
    return copy_to


def _require_no_live_worker(held: sqlite3.Connection, *, target: Path) -> None:
    # Between two passes a worker has no file open. It would record what it sends meanwhile in
    # the database that is being replaced.
    query = f"SELECT strftime('%s', 'now') - strftime('%s', MAX(seen_at)) FROM {HEARTBEAT_TABLE}"  # noqa: S608 - our name
    [seconds] = held.execute(query).fetchone()
    if seconds is not None and seconds <= ALIVE_WITHIN.total_seconds():
        raise BackupError(
            f"A worker of {target} was alive {seconds} s ago. Stop the service and its workers "
            f"first; one that was killed is forgotten after {ALIVE_WITHIN}. Nothing was changed."
        )


@contextmanager
def _exclusive_connection(target: Path) -> Iterator[sqlite3.Connection]:
    """A connection that locks out every other process until it is closed."""
    with closing(sqlite3.connect(target, timeout=2, isolation_level=None)) as held:
        try:
            held.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Leaving WAL mode requires exclusive access, so this fails while another is connected.
            held.execute("PRAGMA journal_mode = DELETE")
            held.execute("BEGIN EXCLUSIVE")
            held.execute("COMMIT")
        except sqlite3.OperationalError:
            raise BackupError(
                f"{target} is in use. Stop the service and its workers first. Nothing was changed."
            ) from None
        except sqlite3.DatabaseError as error:
            raise BackupError(
                f"{target} is no usable SQLite database ({error}). Move it and its -wal file "
                "away, then run this again. Nothing was changed."
            ) from None
        try:
            yield held
        finally:
            held.execute("PRAGMA journal_mode = WAL")


def _bring_up_to_date(copy: Path, *, manifest: Manifest, actor: Actor) -> int:
    """Migrate the copy and apply what a restore implies; returns how many deletions it closed."""
    made_at = manifest.made_at
    with writing_database(copy):
        call_command("migrate", interactive=False, verbosity=0)
        audit.record(
            code=audit.EventCode.DATABASE_RESTORED,
            actor=actor,
            sentence=audit.Sentence(
                "{actor} restored the database from a backup of {made_at}.",
                actor=personal_data.name_of(actor),
                made_at=made_at,
            ),
            details={"sha256": manifest.sha256, "made_at": made_at},
        )
        # Sessions that ended since and links that were used since must stay invalid.
        PersonSession.objects.all().delete()
        WorkerHeartbeat.objects.all().delete()
        SignInLink.objects.filter(used_at=None).update(used_at=clock.now())
        could_be_sent = Deletion.objects.filter(
            state__in=[State.REQUESTED, State.APPROVED, State.WAITING]
        )
        for held in Deletion.objects.filter(state=State.STILL_PRESENT).exclude(
            policy=ApprovalPolicy.NONE
        ):
            # Its approvals might have been used since the backup.
            lifecycle.end_approval_round(
                deletion=held, actor=actor, why=f"were restored from a backup of {made_at}"
            )
        reason = f"The database was restored from a backup of {made_at}."
        return sum(_close_as_unresolved(one, actor=actor, reason=reason) for one in could_be_sent)


def _close_as_unresolved(deletion: Deletion, *, actor: Actor, reason: str) -> bool:
    sentence = audit.Sentence(
        "It was open when the backup was made; what became of it since is not known."
    )
    return states.apply(
        deletion,
        transition=Settle(outcome=Outcome.UNRESOLVED, reason=reason),
        actor=actor,
        events=[
            audit.EventDraft(
                code=audit.EventCode.DELETION_SETTLED,
                sentence=sentence,
                details={"reason": reason},
            )
        ],
    )


def _available_key_ids() -> frozenset[str]:
    """The IDs on the key ring; none when it is missing or unusable, which a start reports."""
    try:
        return read_key_ring(Path(settings.KEYRING_FILE)).key_ids
    except KeyRingError:
        return frozenset()
