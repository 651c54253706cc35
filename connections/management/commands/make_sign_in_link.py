"""Make a one-time sign-in link from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.core import clock
from connections.management.base import OrgAdminCommand
from connections.models import Person
from connections.people import people


class Command(OrgAdminCommand):
    """Makes a link for an invitation, a forgotten password or a lost MFA device."""

    help = "Make a link that lets a person in once, within 24 hours, and choose a password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--username", required=True)
        parser.add_argument(
            "--removes-second-factor",
            action="store_true",
            help="Using the link also forgets the person's second factor, for one that is lost.",
        )

    def run(self, **options: Any) -> None:
        person = Person.objects.filter(username__iexact=options["username"]).first()
        if person is None:
            self.usage_error(f"Nobody has the user name {options['username']}.")
        now = clock.now()
        link = people.make_sign_in_link(
            actor=command_actor(),
            person=person,
            now=now,
            removes_second_factor=options["removes_second_factor"],
        )
        document = {
            "username": person.username,
            "link": link,
            "expires_at": now + people.SIGN_IN_LINK_LIFETIME,
            "removes_second_factor": options["removes_second_factor"],
        }
        self.emit(document, link)
