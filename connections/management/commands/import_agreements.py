"""Set agreements from a CSV file."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.inventory.pair_files import COLUMNS, import_agreements
from connections.management.base import FAILED, OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Sets what each line says. A failed line doesn't affect others."""

    help = (
        f"Set agreements, from CSV with the columns {','.join(COLUMNS)}: an org is an ID or a name "
        "that only one org of the site has, owner a username, ends_on a date; data types are "
        "separated by spaces. An empty cell clears, but data types stay. A failed line doesn't "
        "affect others. Exit codes: 0 no line failed, 1 at least one failed, 2 usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file", required=True, metavar="CSV", help="UTF-8. - reads standard input."
        )

    def run(self, **options: Any) -> Result:
        content = self.read_input(options["file"])
        result = import_agreements(actor=command_actor(), content=content)
        return Result(result.document, *result.lines, exit_code=FAILED if result.failed else 0)
