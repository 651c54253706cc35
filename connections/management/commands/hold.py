"""Put Org Admin on hold."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.core.errors import ConflictError
from connections.management.base import ALREADY_SO, OrgAdminCommand, Result
from connections.operations import holds


class Command(OrgAdminCommand):
    """Exit code 0 if it is on hold now, 3 if it was already."""

    help = (
        "Put Org Admin on hold: until an administrator releases it, it ends no access, repeats no "
        "request and starts nothing by itself."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True)

    def run(self, **options: Any) -> Result:
        try:
            holds.put_on_hold(actor=command_actor(), reason=options["reason"])
        except ConflictError as error:
            return Result({"held": True}, str(error), exit_code=ALREADY_SO)
        return Result({"held": True}, "Org Admin is on hold. release_hold releases it.")
