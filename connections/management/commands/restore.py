"""Replace the SQLite database with a backup."""

import sqlite3
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand
from connections.operations.restore import RestoreResult, restore_backup


class Command(OrgAdminCommand):
    """`restore`: exit code 0 when the backup is the database now, else 1 and nothing changed."""

    help = (
        "Replace the SQLite database by a backup. Stop the service first. The key ring that "
        "belonged to the backup must be put back by hand."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the backup and whether it can replace data."""
        super().add_arguments(parser)
        parser.add_argument("--from", required=True, metavar="DIR", type=Path, dest="directory")
        parser.add_argument(
            "--replace",
            action="store_true",
            help="Also when the database holds something: it is copied aside first.",
        )

    def run(self, **options: Any) -> None:
        """Restore the backup, and say what is left to do."""
        directory: Path = options["directory"].absolute()
        try:
            restored = restore_backup(
                directory=directory, actor=command_actor(), replace=options["replace"]
            )
        except (OSError, sqlite3.Error) as error:
            raise CommandError(f"Nothing was restored: {error}.") from None
        document = asdict(restored.manifest) | {
            "database": str(restored.database),
            "kept": str(restored.kept) if restored.kept else None,
            "missing_key_ids": restored.missing_key_ids,
            "unresolved": restored.unresolved,
        }
        self.emit(document, _sentences(restored, directory=directory))


def _sentences(restored: RestoreResult, *, directory: Path) -> str:
    made_at = restored.manifest.made_at
    sentences = [f"{restored.database} is the backup in {directory}, made at {made_at}."]
    if restored.kept:
        sentences.append(f"What was there before is kept as {restored.kept}.")
    if restored.unresolved:
        sentences.append(
            f"Open deletions that could have been sent since: {restored.unresolved}, closed as "
            "unresolved."
        )
    if restored.missing_key_ids:
        sentences.append(
            f"Put back the key ring that belonged to it as {settings.KEYRING_FILE}: nothing starts "
            f"without its key {', '.join(restored.missing_key_ids)}."
        )
    sentences.append("Everybody signs in anew.")
    return "\n".join(sentences)
