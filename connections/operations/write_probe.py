"""Checks whether the database can be written now, for /readyz and `doctor`.

On SQLite, a write that is rolled back proves nothing, because its pages never leave memory. So the
probe commits the database's `user_version` unchanged, which writes and syncs one page of the
write-ahead log. That log reuses its space, so small writes can succeed on a full disk for a while,
and the probe therefore also checks free space. On PostgreSQL, where only the server knows its disk,
it inserts a row into the cache and rolls back.
"""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from connections.core.database import is_busy
from connections.operations.backup import get_database_path

# Enough for the responses and events of deletions in progress. Documented in docs/OPERATIONS.md.
MIN_FREE_BYTES = 16 * 1024 * 1024
# Waiting longer would delay the caller, and a busy writer shows that writing works.
_BUSY_TIMEOUT_MS = 1000


@dataclass(frozen=True, kw_only=True)
class WriteProblem:
    """Why the database can't be written. `detail` is for its operators."""

    summary: str
    detail: str
    hint: str


def find_write_problem() -> WriteProblem | None:
    """Write to the database without changing it, and check the free space."""
    try:
        write_without_change()
    except DatabaseError as error:
        return WriteProblem(
            summary="the database can't be written",
            detail=f"not writable: {error}".strip(),
            hint="Make the database and its directory writable, or free space.",
        )
    return _find_lack_of_space()


def write_without_change() -> None:
    """Write to the database without changing it. Raises DatabaseError."""
    if connection.vendor == "sqlite":
        _write_to_sqlite()
    else:
        _write_to_postgresql()


def _write_to_sqlite() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        [previous_timeout] = cursor.fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        try:
            with transaction.atomic():
                cursor.execute("PRAGMA user_version")
                [version] = cursor.fetchone()
                cursor.execute(f"PRAGMA user_version = {version:d}")
        except DatabaseError as error:
            if not is_busy(error):
                raise
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {previous_timeout:d}")


def _write_to_postgresql() -> None:
    table = connection.ops.quote_name(str(settings.CACHES["default"]["LOCATION"]))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (cache_key, value, expires) VALUES (%s, '', now())",  # noqa: S608 - the name is from settings
            [f"write-probe-{uuid.uuid4()}"],
        )
        transaction.set_rollback(True)


def _find_lack_of_space() -> WriteProblem | None:
    for directory in _list_directories():
        free = shutil.disk_usage(directory).free
        if free < MIN_FREE_BYTES:
            mib = MIN_FREE_BYTES // (1024 * 1024)
            return WriteProblem(
                summary=f"less than {mib} MiB free for data",
                detail=f"{directory} has {free // 1024} KiB free, but needs at least {mib} MiB",
                hint="Free space on that disk, or enlarge it.",
            )
    return None


def _list_directories() -> list[Path]:
    """The directories of the database file and of responses that the database could not store."""
    directories = [Path(settings.DATA_DIR)]
    if connection.vendor == "sqlite":
        directories.append(get_database_path().parent)
    return [directory for directory in dict.fromkeys(directories) if directory.is_dir()]
