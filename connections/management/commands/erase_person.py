"""Erase a person's names and addresses; their audit events stay, under a number."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand
from connections.models import Person
from connections.people.erasure import erase_person


class Command(OrgAdminCommand):
    """Erases one person. It can't be undone."""

    help = "Empty the names and addresses of a person for good. What they wrote stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--username", required=True)
        parser.add_argument("--yes", action="store_true", help="It cannot be taken back.")

    def run(self, **options: Any) -> None:
        person = Person.objects.filter(username__iexact=options["username"]).first()
        if person is None:
            self.usage_error(f"Nobody signs in as {options['username']}.")
        if not options["yes"]:
            self.usage_error("Erasing cannot be taken back. Say --yes.")
        erased = erase_person(actor=command_actor(), person=person)
        text = (
            f"Erased: now person no. {erased.number}. Names and addresses emptied: {erased.values}."
        )
        if erased.shared_names:
            text += " Somebody else bears the same name, so copies of it elsewhere were left."
        self.emit(
            {
                "person_number": erased.number,
                "values": erased.values,
                "shared_names": erased.shared_names,
            },
            text,
        )
