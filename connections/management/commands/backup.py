"""Make a backup of the SQLite database while the service runs."""

from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.operations.backup import DATABASE_NAME, make_backup


class Command(OrgAdminCommand):
    """Exit code 0 if the backup was made and checked, otherwise 1."""

    help = (
        "Copy the SQLite database to a new directory, with a manifest. The service can be running. "
        "The key ring isn't included: keep a copy of it elsewhere."
    )
    failed = "No backup was made"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", required=True, metavar="DIR", type=Path)

    def run(self, **options: Any) -> Result:
        directory: Path = options["output"].absolute()
        manifest = make_backup(directory=directory, actor=command_actor())
        key_ring = str(settings.KEYRING_FILE)
        document = asdict(manifest) | {
            "directory": str(directory),
            "database": str(directory / DATABASE_NAME),
            "keyring_file": key_ring,
        }
        counts = ", ".join(
            f"{name.replace('_', ' ')}: {number:,}" for name, number in manifest.counts.items()
        )
        keys = ", ".join(manifest.key_ids) or "none"
        return Result(
            document,
            f"Backed up to {directory} ({counts}).",
            f"The key ring isn't included. Keep a copy of {key_ring} elsewhere "
            f"(keys in use: {keys}).",
        )
