"""Erase a credential's keys permanently."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.credentials.retirement import retire_credential
from connections.management.base import OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Retires one credential, as its page does. Refuses while a request needs its keys."""

    help = "Erase a credential's keys. Its connections leave the inventory; its history stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--yes", action="store_true", help="Required: this can't be undone.")

    def run(self, **options: Any) -> Result:
        [credential] = self.choose_credentials(options["name"])
        name = credential.name
        if not options["yes"]:
            self.usage_error("Nothing was retired. Add --yes: erased keys can't be restored.")
        retired = retire_credential(actor=command_actor(), credential=credential, confirmation=name)
        document = {"id": retired.pk, "name": retired.name, "previous_name": name}
        return Result(document, f"{name} retired. Its keys are erased.")
