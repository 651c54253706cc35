"""Make a one-time sign-in link from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.core import clock
from connections.core.own_address import own_origin
from connections.core.text import format_limit
from connections.management.base import OrgAdminCommand, Result
from connections.people import sign_in_links


class Command(OrgAdminCommand):
    """Makes a link for an invitation, a forgotten password or a lost MFA device."""

    help = (
        "Make a one-time link to sign in and choose a password, valid for "
        f"{format_limit(sign_in_links.SIGN_IN_LINK_LIFETIME)}."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument(
            "--removes-second-factor",
            action="store_true",
            help="Using the link also removes the person's MFA, for a lost device.",
        )

    def run(self, **options: Any) -> Result:
        person = self.find_person(options["username"])
        now = clock.now()
        link = own_origin() + sign_in_links.make_sign_in_link(
            actor=command_actor(),
            person=person,
            now=now,
            removes_second_factor=options["removes_second_factor"],
        )
        document = {
            "username": person.username,
            "link": link,
            "expires_at": now + sign_in_links.SIGN_IN_LINK_LIFETIME,
            "removes_second_factor": options["removes_second_factor"],
        }
        return Result(document, link)
