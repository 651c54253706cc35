"""Write audit events after a sequence number to standard output, for log shippers."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.audit import export as audit_export
from connections.management.base import ExportCommand


class Command(ExportCommand):
    """`export_audit`: a line of JSON for each event, oldest first; `seq` is the cursor."""

    prints_checkpoint = False
    help = (
        "Write the events after a number to standard output, a line of JSON each, oldest first. "
        "The `seq` of the last line is the next --since. Writes nothing, and records nothing, "
        "when nothing happened but such exports."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where to begin and how much."""
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            type=int,
            default=0,
            metavar="SEQ",
            help="The number of the last event that was taken; 0, the default: from the first on.",
        )
        parser.add_argument(
            "--limit", type=int, metavar="N", help="At most so many events; default: all."
        )

    def run(self, **options: Any) -> None:
        """Write line by line, so that memory stays flat."""
        export = audit_export.prepare_shipment(
            actor=command_actor(),
            since=options["since"],
            limit=options["limit"],
            file_format="json" if self.as_json else "ndjson",
        )
        if export is not None:
            self.write_export(export, checkpoint_file=options["checkpoint_file"])
        elif self.as_json:
            self.emit([], "")
