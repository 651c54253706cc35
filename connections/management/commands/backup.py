"""Make a backup of the SQLite database while the service runs."""

import sqlite3
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from connections.access.actor import command_actor
from connections.core.private_files import PrivateFileError
from connections.management.base import OrgAdminCommand
from connections.operations.backup import DATABASE_NAME, make_backup


class Command(OrgAdminCommand):
    """`backup`: exit code 0 when the backup was made and checked, else 1."""

    help = (
        "Copy the SQLite database and a manifest into a new directory. The service may run on. "
        "The key ring is not copied: keep a copy of it elsewhere."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where to put it."""
        super().add_arguments(parser)
        parser.add_argument("--output", required=True, metavar="DIR", type=Path)

    def run(self, **options: Any) -> None:
        """Make the backup and print its manifest."""
        directory: Path = options["output"].absolute()
        try:
            manifest = make_backup(directory=directory, actor=command_actor())
        except (OSError, sqlite3.Error, PrivateFileError) as error:
            raise CommandError(f"No backup was made: {error}.") from None
        key_ring = str(settings.KEYRING_FILE)
        document = asdict(manifest) | {
            "directory": str(directory),
            "database": str(directory / DATABASE_NAME),
            "keyring_file": key_ring,
        }
        counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in manifest.counts.items())
        keys = ", ".join(manifest.key_ids) or "none yet"
        self.emit(
            document,
            f"Backed up to {directory}: {counts}.\nThe key ring is not in it. Keep a copy of "
            f"{key_ring} in another place (keys in use: {keys}).",
        )
