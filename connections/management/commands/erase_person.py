"""Erase a person's names and addresses. Their audit events stay, under a number."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.people.erasure import erase_person


class Command(OrgAdminCommand):
    """Erases one person. It can't be undone."""

    help = "Permanently erase a person's names and addresses. Reasons and comments they wrote stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument("--yes", action="store_true", help="Required: this can't be undone.")

    def run(self, **options: Any) -> Result:
        person = self.find_person(options["username"])
        if not options["yes"]:
            self.usage_error("Nothing was erased. Add --yes: erasure can't be undone.")
        erasure = erase_person(actor=command_actor(), person=person)
        text = f"Erased person no. {erasure.number}. Names and addresses erased: {erasure.values}."
        if erasure.shared_names:
            text += " Another person has the same name, so it stays where only the name is stored."
        return Result(
            {
                "person_number": erasure.number,
                "values": erasure.values,
                "shared_names": erasure.shared_names,
            },
            text,
        )
