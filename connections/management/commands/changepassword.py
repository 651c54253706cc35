"""Replaces Django's command, which changes a password without an audit event."""

from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import CommandError

from connections.management.base import OrgAdminCommand


class Command(OrgAdminCommand):
    """Changes nothing and names the command to use."""

    takes_json = False
    help = "Not available, because it records nothing. Use make_sign_in_link."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Accept what Django's command accepts, so that it refuses instead of explaining usage."""
        parser.add_argument("username", nargs="?")
        parser.add_argument("--database")

    def run(self, **options: Any) -> NoReturn:
        raise CommandError(
            "Nothing was changed, because Django's changepassword records nothing. Run "
            "./run manage make_sign_in_link --username … and choose a password with the link."
        )
