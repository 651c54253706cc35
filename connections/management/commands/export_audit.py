"""Write audit events after a sequence number to standard output, for log shippers."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.exports import events as audit_export
from connections.management.base import ExportCommand, Result


class Command(ExportCommand):
    """`export_audit`: one line of JSON per event, oldest first. `seq` is the cursor."""

    prints_checkpoint = False
    help = (
        "Write the audit events after a sequence number to standard output, one line of JSON each, "
        "oldest first. The `seq` of the last line is the next --since. If the only new events are "
        "about such exports, nothing is written or recorded."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            type=int,
            default=0,
            metavar="SEQ",
            help="The number of the last event you have. Default: 0, all events.",
        )
        parser.add_argument(
            "--limit", type=int, metavar="N", help="Maximum number of events. Default: all."
        )

    def run(self, **options: Any) -> Result | None:
        export = audit_export.prepare_shipment(
            actor=command_actor(),
            since=options["since"],
            limit=options["limit"],
            file_format="json" if self.as_json else "ndjson",
        )
        if export is None:
            return Result([])
        self.write_export(export, checkpoint_file=options["checkpoint_file"])
        return None
