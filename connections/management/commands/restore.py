"""Replace the SQLite database with a backup."""

from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.operations.backup import RestoreResult, restore_backup


class Command(OrgAdminCommand):
    """Exit code 0 if the backup is now the database, otherwise 1 and nothing changed."""

    help = (
        "Replace the SQLite database with a backup. Stop the service first. The key ring isn't "
        "restored: put back the one that belongs to the backup."
    )
    failed = "Nothing was restored"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", required=True, metavar="DIR", type=Path, dest="directory")
        parser.add_argument(
            "--replace",
            action="store_true",
            help="Also replace a database that contains data. A copy of it is saved first.",
        )

    def run(self, **options: Any) -> Result:
        directory: Path = options["directory"].absolute()
        restored = restore_backup(
            directory=directory, actor=command_actor(), replace=options["replace"]
        )
        document = asdict(restored.manifest) | {
            "database": str(restored.database),
            "kept": str(restored.kept) if restored.kept else None,
            "missing_key_ids": restored.missing_key_ids,
            "unresolved": restored.unresolved,
        }
        return Result(document, *_sentences(restored, directory=directory))


def _sentences(restored: RestoreResult, *, directory: Path) -> list[str]:
    made_at = restored.manifest.made_at_text
    sentences = [f"Restored {restored.database} from the backup in {directory}, made {made_at}."]
    if restored.kept:
        sentences.append(f"The previous database is saved as {restored.kept}.")
    if restored.unresolved:
        sentences.append(
            f"Open deletions closed as unresolved: {restored.unresolved}. They might have been "
            "sent after the backup."
        )
    if restored.missing_key_ids:
        sentences.append(
            f"Put the backup's key ring back as {settings.KEYRING_FILE}: Org Admin can't start "
            f"without key {', '.join(restored.missing_key_ids)}."
        )
    sentences.append("Everyone must sign in again.")
    return sentences
