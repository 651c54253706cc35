"""Moves everything from SQLite to an empty PostgreSQL database, and verifies it there.

The rows are read from a copy, and meanwhile no other process can open the SQLite file. Encrypted
columns are copied as they are. The target's triggers refuse what a record already contains, such
as the approvals of a closed deletion, so they are off in the one transaction that inserts all rows.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

import dj_database_url
from django.apps import apps
from django.conf import settings
from django.core.management.color import no_style
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.db.utils import load_backend

from connections.core.database import read_in_chunks
from connections.core.errors import DomainError, InvalidInputError
from connections.models import AppliedMigration, AuditEvent, AuditHead, Checkpoint
from connections.operations import backup, schema

SOURCE, TARGET = "source", "target"
ROWS_AT_ONCE = 1000


class NotReadyError(DomainError):
    """The target holds data, or a process of this service still runs. Nothing was changed."""


class MoveError(DomainError):
    """The move failed. Nothing was changed in the SQLite database."""


@dataclass(frozen=True, kw_only=True)
class MoveResult:
    """What was moved. `checkpoint` is the size of the one that was verified, if there is one."""

    tables: int
    rows: int
    events: int
    checkpoint: int | None


def move_database(*, url: str) -> MoveResult:
    """Copy every row to the PostgreSQL database at `url`, and verify the audit log there.

    Raises InvalidInputError, NotReadyError and MoveError, and database errors of the target.
    """
    try:
        target = dj_database_url.parse(url)
    except ValueError:
        target = {}
    if settings.DATABASE_IS_SQLITE is False or "postgresql" not in target.get("ENGINE", ""):
        # Not the URL, which can contain a password.
        raise InvalidInputError(
            {"to": "Moves from SQLite to PostgreSQL only: postgres://owner:password@host/name."}
        )
    schema.require_usable_schema()
    with _opened_copy() as directory, _opened(TARGET, dict(target)):
        _require_empty_target()
        _manage("migrate", "--verbosity=0", url=url)
        copied = _copy_rows()
        head = AuditHead.objects.using(SOURCE).get()
        checkpoint = Checkpoint.objects.using(SOURCE).order_by("-size", "-id").first()
        arguments = []
        if checkpoint:
            (directory / "checkpoint").write_text(checkpoint.note, encoding="utf-8")
            arguments = ["--checkpoint", str(directory / "checkpoint")]
        report = json.loads(_manage("verify_audit", "--json", *arguments, url=url))
        moved = AuditHead.objects.using(TARGET).get()
        if (moved.hash, report["events"]) != (head.hash, head.size):
            raise MoveError(
                f"The audit log ends at event {head.size} with the hash {head.hash} here, but at "
                f"event {moved.size} with the hash {moved.hash} at the target, which can't be used."
            )
    return MoveResult(
        tables=len(copied),
        rows=sum(copied.values()),
        events=head.size,
        checkpoint=checkpoint.size if checkpoint else None,
    )


@contextmanager
def _opened_copy() -> Iterator[Path]:
    """Open a copy of the database as SOURCE, which no other process can change meanwhile.

    Yields a private directory for other files.
    """
    with tempfile.TemporaryDirectory(prefix=".move-", dir=settings.DATA_DIR) as name:
        copy = Path(name) / backup.DATABASE_NAME
        try:
            with (
                backup.exclusive_copy(copy),
                _opened(SOURCE, {"ENGINE": "django.db.backends.sqlite3", "NAME": str(copy)}),
            ):
                yield Path(name)
        except backup.BackupError as error:
            raise NotReadyError(str(error)) from None


@contextmanager
def _opened(alias: str, database: dict[str, Any]) -> Iterator[None]:
    """Let the models use this database as `alias`, in this thread."""
    configured = connections.configure_settings({"default": database})["default"]
    opened = load_backend(configured["ENGINE"]).DatabaseWrapper(configured, alias)
    connections[alias] = opened
    try:
        yield
    finally:
        opened.close()
        del connections[alias]


def _models() -> list[type[Model]]:
    """Every model whose rows are moved. The target's migrations have recorded themselves."""
    models = apps.get_models(include_auto_created=True)
    return [model for model in models if model is not AppliedMigration and not model._meta.proxy]


def _require_empty_target() -> None:
    present = set(connections[TARGET].introspection.table_names())
    ours = {model._meta.db_table for model in _models()} | {AppliedMigration._meta.db_table}
    others = present - ours - {"django_migrations", settings.CACHES["default"]["LOCATION"]}
    tables = sorted({*backup.TABLES_WORTH_KEEPING, AuditEvent._meta.db_table} & present)
    with connections[TARGET].cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {table})")  # noqa: S608 - our name
            if cursor.fetchone()[0]:
                others.add(table)
    if others:
        raise NotReadyError(
            f"The target isn't empty: it holds data in {min(others)}. Nothing was changed. Name an "
            "empty database."
        )


def _manage(*arguments: str, url: str) -> str:
    """Run a command on the target with its own settings. Returns what it prints."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
        env=os.environ
        | {"DATABASE_URL": url, "DATABASE_URL_FILE": ""}
        | {"SECRET_KEY": settings.SECRET_KEY, "SECRET_KEY_FILE": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stdout + done.stderr).strip().splitlines()
        raise MoveError(
            f"Nothing was changed here. {arguments[0]} failed at the target, which can't be used: "
            f"{reason[-1] if reason else done.returncode}"
        )
    return done.stdout


def _copy_rows() -> dict[str, int]:
    """Replace all rows of the target. Returns how many each table has then."""
    models = _models()
    quote = connections[TARGET].ops.quote_name
    tables = [quote(model._meta.db_table) for model in models]
    try:
        with transaction.atomic(using=TARGET), connections[TARGET].cursor() as cursor:
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            # Again, because from here on no other process can write to them.
            _require_empty_target()
            cursor.execute(f"TRUNCATE {', '.join(tables)}")
            copied = {model._meta.db_table: _copy_table(model) for model in models}
            # Foreign keys are checked now, because a table with pending checks can't be altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for statement in connections[TARGET].ops.sequence_reset_sql(no_style(), models):
                cursor.execute(statement)
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    except (DatabaseError, ValueError) as error:
        raise MoveError(
            f"Nothing was moved or changed: {' '.join(str(error).split())}. Run this again when it "
            "is solved."
        ) from error
    return copied


def _copy_table(model: type[Model]) -> int:
    source: QuerySet[Any] = QuerySet(model, using=SOURCE)
    target: QuerySet[Any] = QuerySet(model, using=TARGET)
    for rows in batched(read_in_chunks(source, key="pk", chunk_size=ROWS_AT_ONCE), ROWS_AT_ONCE):
        target.bulk_create(rows)
    count = target.count()
    if count != source.count():
        raise ValueError(f"{model._meta.db_table} has {count} rows at the target")
    return count
