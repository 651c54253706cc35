"""List what changed outside Org Admin from the command line."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from connections.access.actor import command_actor
from connections.changes.changes import ChangeFilter, ChangeRow, iterate_changes
from connections.changes.export import CHANGE_EXPORT_COLUMNS
from connections.changes.texts import change_subject, change_title
from connections.core.tabular import parse_time
from connections.core.text import format_time
from connections.management.base import OrgAdminCommand, Result
from connections.models import Change

NEEDS_ATTENTION = 10


class Command(OrgAdminCommand):
    """Prints the stored changes, newest first, without syncing."""

    help = (
        "List the changes that syncs detected, newest first. Exit code 10 when one of them needs "
        "attention and isn't acknowledged."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="Only changes recorded at this time or later: ISO 8601, UTC if it has no offset.",
        )
        parser.add_argument(
            "--kind", choices=Change.Kind.values, default="", help="Only changes of this kind."
        )
        parser.add_argument(
            "--unacknowledged", action="store_true", help="Only changes that aren't acknowledged."
        )

    def run(self, **options: Any) -> Result:
        filters = ChangeFilter(
            kind=(options["kind"],) if options["kind"] else (),
            acknowledged="no" if options["unacknowledged"] else "",
            since=self._parse_time(options["since"]) if options["since"] else None,
        )
        rows = list(iterate_changes(actor=command_actor(), filters=filters))
        document = {"changes": [CHANGE_EXPORT_COLUMNS.row(row) for row in rows]}
        is_waiting = any(row.change.awaits_acknowledgement for row in rows)
        exit_code = NEEDS_ATTENTION if is_waiting else 0
        return Result(document, *map(_line, rows), exit_code=exit_code)

    def _parse_time(self, text: str) -> datetime:
        try:
            return parse_time(text)
        except ValueError:
            self.usage_error("--since: Use a time such as 2026-01-31T14:00:00Z.")


def _line(row: ChangeRow) -> str:
    change = row.change
    mark = "!" if change.awaits_acknowledgement else " "
    title = change_title(change, deletion=row.deletion, access_request=row.access_request)
    parts = (format_time(change.detected_at), title, change_subject(change), row.cause)
    return f"{mark} {'  '.join(part for part in parts if part)}"
