"""Add a person from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.models import Role
from connections.people import people


class Command(OrgAdminCommand):
    """Adds one person, without a password. make_sign_in_link lets the person choose one."""

    help = (
        "Add a person, or an account for a program. No email is sent: people sign in with a link "
        "from make_sign_in_link."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True)
        address = parser.add_mutually_exclusive_group(required=True)
        address.add_argument("--email")
        address.add_argument(
            "--program",
            action="store_true",
            help="An account for a program: roles and API tokens, but no one signs in to it.",
        )
        parser.add_argument(
            "--role",
            action="append",
            default=[],
            dest="roles",
            choices=Role.values,
            help="A role; repeatable.",
        )
        parser.add_argument(
            "--administrator", action="store_true", help="Has every role and manages people."
        )

    def run(self, **options: Any) -> Result:
        person = people.add_person(
            actor=command_actor(),
            username=options["username"],
            email=options["email"] or "",
            roles=[Role(name) for name in options["roles"]],
            is_administrator=options["administrator"],
            is_program=options["program"],
        )
        document = {
            "id": person.pk,
            "username": person.username,
            "email": person.email,
            "roles": sorted(set(options["roles"])),
            "is_administrator": person.is_superuser,
            "is_program": person.is_program,
        }
        following = "make_api_token" if person.is_program else "make_sign_in_link"
        return Result(
            document,
            f"Added {person.username}. Next: ./run manage {following} --username {person.username}",
        )
