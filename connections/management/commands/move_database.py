"""Move everything from SQLite to PostgreSQL."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings

from connections.core.text import pluralize
from connections.management.base import OrgAdminCommand, Result
from connections.operations import backup, moving


class Command(OrgAdminCommand):
    """Exit code 0 if everything was moved and verified, 1 if it failed, 2 if it couldn't start."""

    help = (
        "Copy the SQLite database to an empty PostgreSQL database and verify the audit log there. "
        "Stop the service first. Nothing changes in the SQLite database."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--to",
            required=True,
            metavar="URL",
            help="The new database, with its owner: postgres://owner@host/name. "
            "A password in it is shown in the list of processes: PGPASSFILE names a file with it.",
        )

    def run(self, **options: Any) -> Result:
        try:
            moved = moving.move_database(url=options["to"])
        except moving.NotReadyError as error:
            self.usage_error(str(error))
        verified = f"The audit log is intact there: {pluralize(moved.events, 'event')}"
        if moved.checkpoint is not None:
            verified += f", with the checkpoint of event {moved.checkpoint}"
        return Result(
            asdict(moved),
            f"Moved {pluralize(moved.rows, 'row')} of {pluralize(moved.tables, 'table')}. "
            f"{verified}.",
            "Set DATABASE_URL and the key files as docs/OPERATIONS.md says, “PostgreSQL”; the keys "
            f"stay the same. Then move {backup.get_database_path()} away, so that nothing uses it "
            f"again, and start. The secret key is {settings.DATA_DIR / 'secret_key'}. "
            "A ./run web that was not stopped would go on with the SQLite database.",
        )
