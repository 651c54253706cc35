"""Add a person from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.models import Role
from connections.people import people


class Command(OrgAdminCommand):
    """Adds one person, without a password. make_sign_in_link lets the person choose one."""

    help = "Add a person. No email is sent: they sign in with a link from make_sign_in_link."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument("--email", required=True)
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
            email=options["email"],
            roles=[Role(name) for name in options["roles"]],
            is_administrator=options["administrator"],
        )
        document = {
            "id": person.pk,
            "username": person.username,
            "email": person.email,
            "roles": sorted(set(options["roles"])),
            "is_administrator": person.is_superuser,
        }
        return Result(
            document,
            f"Added {person.username}. Next: ./run manage make_sign_in_link "
            f"--username {person.username}",
        )
