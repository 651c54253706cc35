"""Set groups and owners of orgs from a CSV file."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.inventory.org_details import import_org_groups
from connections.management.base import FAILED, OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Sets what each line says. A failed line doesn't affect others."""

    help = (
        "Set groups and owners of orgs, from CSV with the columns site,org,group,owner: org is an "
        "ID or a name that only one org of the site has, owner a username. An empty cell clears. A "
        "failed line doesn't affect others. Exit codes: 0 no line failed, 1 at least one failed, 2 "
        "usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file", required=True, metavar="CSV", help="UTF-8. - reads standard input."
        )

    def run(self, **options: Any) -> Result:
        content = self.read_input(options["file"])
        result = import_org_groups(actor=command_actor(), content=content)
        return Result(result.document, *result.lines, exit_code=FAILED if result.failed else 0)
