"""Replaces Django's command, which changes a password without an audit event."""

from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Changes nothing and names the command to use."""

    help = "Not available, because it records nothing. Use make_sign_in_link."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Accept what Django's command accepts, so that it refuses instead of explaining usage."""
        parser.add_argument("username", nargs="?")
        parser.add_argument("--database")

    def handle(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise CommandError(
            "Nothing was changed, because Django's changepassword records nothing. Run "
            "./run manage make_sign_in_link --username … and choose a password with the link."
        )
