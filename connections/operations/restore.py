"""Putting a backup in the place of the database, or refusing to: nothing in between."""

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
from connections.crypto.key_ring import KeyRingError, read_key_ring
from connections.deletions import reconciliation, states
from connections.deletions.states import EventDraft, Settle
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
    copy_from,
    database_file,
    looking_into,
    place_for_copy,
    read_manifest,
    require_sqlite,
    schema_differences,
    uri_of,
    working_on,
)
from connections.operations.worker import ALIVE_WITHIN

PRECIOUS = ("connections_person", "connections_credential", "connections_deletion")
HEARTBEATS = "connections_workerheartbeat"
CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was restored. `missing_key_ids` must be on the key ring before anything starts."""

    manifest: Manifest
    database: Path
    # The database that was there before, where there was one worth keeping.
    kept: Path | None
    missing_key_ids: list[str]
    # How many deletions were open and could have been sent since: closed without knowing.
    unresolved: int


def restore_backup(*, directory: Path, actor: Actor, replace: bool) -> Restored:
    """Put the backup of a directory in the place of the database, and bring it to this version.

    A database that holds people, credentials or deletions is replaced only with `replace`, and
    copied to `backups` of the data directory first. Every session and one-time link ends. What
    happened after the backup is not in it: a deletion that was open then and could have been
    sent since is closed as unresolved.

    Raises BackupError, OSError and sqlite3.Error; the database stands as it was then.
    """
    require_sqlite()
    manifest = read_manifest(directory)
    target = database_file()
    connection.close()
    with _checked_copy(directory, manifest=manifest, target=target) as copy:
        key_ids = _read_key_ids(copy)
        unresolved = _bring_up_to_date(copy, manifest=manifest, actor=actor)
        aside = place_for_copy(name="replaced", now=datetime.now(UTC)) if replace else None
        kept = _put_in_place(copy, target=target, aside=aside)
    return Restored(
        manifest=manifest,
        database=target,
        kept=kept,
        missing_key_ids=sorted(key_ids - _ids_on_key_ring()),
        unresolved=unresolved,
    )


@contextmanager
def _checked_copy(directory: Path, *, manifest: Manifest, target: Path) -> Iterator[Path]:
    """A copy beside the database whose bytes are the ones that the manifest names."""
    descriptor, name = tempfile.mkstemp(prefix=".restore-", dir=target.parent)
    copy = Path(name)
    try:
        digest, size = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as new, (directory / DATABASE_NAME).open("rb") as file:
            while chunk := file.read(CHUNK):
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
    with looking_into(copy):
        _, unknown = schema_differences()
        if unknown:
            app, name = max(unknown)
            raise BackupError(
                f"The backup is of a newer version than this one: it has the migration {app} "
                f"{name}. Restore it with that version. Nothing was changed."
            )
        return key_ids_in_use()


def _put_in_place(copy: Path, *, target: Path, aside: Path | None) -> Path | None:
    """Replace the database in one transaction; give the copy of the old one, if it was kept."""
    existed = target.exists()
    if not existed:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with _held(target) as held:
            kept = _keep_what_is_there(held, target=target, aside=aside)
            with closing(sqlite3.connect(f"{uri_of(copy)}?immutable=1", uri=True)) as new:
                new.backup(held)
    except BaseException:
        if not existed:
            target.unlink()
        raise
    return kept


def _keep_what_is_there(
    held: sqlite3.Connection, *, target: Path, aside: Path | None
) -> Path | None:
    tables = {name for (name,) in held.execute("SELECT name FROM sqlite_schema")}
    if HEARTBEATS in tables:
        _refuse_beside_a_worker(held, target=target)
    holds_something = any(
        held.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]  # noqa: S608 - our names
        for table in PRECIOUS
        if table in tables
    )
    if not holds_something:
        return None
    if aside is None:
        raise BackupError(
            f"{target} holds people, credentials or deletions and is not overwritten. With "
            "--replace it is copied aside and replaced. Nothing was changed."
        )
    copy_from(held, target=aside)
    return aside


def _refuse_beside_a_worker(held: sqlite3.Connection, *, target: Path) -> None:
    # Between two passes a worker holds no file open. What it sends meanwhile would have its
    # record in the database that goes.
    query = f"SELECT strftime('%s', 'now') - strftime('%s', MAX(seen_at)) FROM {HEARTBEATS}"  # noqa: S608 - our name
    [seconds] = held.execute(query).fetchone()
    if seconds is not None and seconds <= ALIVE_WITHIN.total_seconds():
        raise BackupError(
            f"A worker of {target} was alive {seconds} s ago. Stop the service and its workers "
            f"first; one that was killed is forgotten after {ALIVE_WITHIN}. Nothing was changed."
        )


@contextmanager
def _held(target: Path) -> Iterator[sqlite3.Connection]:
    """A connection that keeps every other process out of the database until it is closed."""
    with closing(sqlite3.connect(target, timeout=2, isolation_level=None)) as held:
        try:
            held.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Leaving the write-ahead log needs to be alone, so this fails while another is inside.
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
    """Migrate the copy and write into it what being restored means; how many it closed."""
    made_at = manifest.made_at
    with working_on(copy):
        call_command("migrate", interactive=False, verbosity=0)
        audit.record(
            code=audit.EventCode.DATABASE_RESTORED,
            actor=actor,
            sentence=f"{personal_data.name_of(actor)} restored the database "
            f"from a backup of {made_at}.",
            details={"sha256": manifest.sha256, "made_at": made_at},
        )
        # A session that ended since, or a link that was used since, must not come back to life.
        PersonSession.objects.all().delete()
        WorkerHeartbeat.objects.all().delete()
        SignInLink.objects.filter(used_at=None).update(used_at=clock.now())
        could_be_sent = Deletion.objects.filter(
            state__in=[State.REQUESTED, State.APPROVED, State.WAITING]
        )
        for held in Deletion.objects.filter(state=State.STILL_PRESENT).exclude(
            policy=ApprovalPolicy.NONE
        ):
            # Its approvals may have been used since the backup.
            reconciliation.end_approval_round(
                deletion=held, actor=actor, why=f"were restored from a backup of {made_at}"
            )
        reason = f"The database was restored from a backup of {made_at}."
        return sum(_close(one, actor=actor, reason=reason) for one in could_be_sent)


def _close(deletion: Deletion, *, actor: Actor, reason: str) -> bool:
    sentence = "It was open when the backup was made; what became of it since is not known."
    return states.apply(
        deletion,
        transition=Settle(outcome=Outcome.UNRESOLVED, reason=reason),
        actor=actor,
        events=[
            EventDraft(
                code=audit.EventCode.DELETION_SETTLED,
                sentence=sentence,
                details={"reason": reason},
            )
        ],
    )


def _ids_on_key_ring() -> frozenset[str]:
    """The keys at hand; none when the ring is not there, or is unusable, as a start will say."""
    try:
        return read_key_ring(Path(settings.KEYRING_FILE)).key_ids
    except KeyRingError:
        return frozenset()
