"""Make a token of the API from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import OrgAdminCommand, Result
from connections.models import Scope
from connections.people import api_tokens


class Command(OrgAdminCommand):
    """Makes a token for a person or for an account for a program, and prints it once."""

    help = "Make a token for the API. It is printed once, and only its hash is stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", required=True, help="Whose token it is.")
        parser.add_argument("--name", required=True, help="Where it is used, such as CMDB.")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            dest="scopes",
            choices=Scope.values,
            help="What it allows; repeatable. `read` is everything that only reads.",
        )
        parser.add_argument(
            "--expires",
            type=int,
            default=api_tokens.DEFAULT_DAYS,
            metavar="DAYS",
            help=f"Days until it expires, {api_tokens.DEFAULT_DAYS} by default, at most "
            f"{api_tokens.MAX_DAYS}.",
        )

    def run(self, **options: Any) -> Result:
        token, text = api_tokens.make_token(
            actor=command_actor(),
            person=self.find_person(options["username"]),
            name=options["name"],
            scopes=set(options["scopes"]),
            days=options["expires"],
        )
        document = {
            "id": token.pk,
            "username": token.person.username,
            "name": token.name,
            "scopes": token.scopes,
            "expires_at": token.expires_at,
            "token": text,
        }
        return Result(document, text)
