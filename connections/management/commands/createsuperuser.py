"""Django's own command, plus audit events."""

from contextlib import nullcontext
from typing import Any

from django.contrib.auth.management.commands.createsuperuser import Command as DjangoCommand
from django.core.management.base import CommandParser
from django.db import transaction

from connections.access.actor import command_actor
from connections.core.text import printable
from connections.models import Person
from connections.people import people
from connections.people.names import find_new_name_problem


class Command(DjangoCommand):
    """Creates an administrator. `--noinput --username --email` needs no terminal."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """A parser whose error messages are printable."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        print_error = parser.error
        parser.error = lambda message: print_error(printable(message))  # type: ignore[method-assign]
        return parser

    def _validate_username(self, username: str, label: str, database: str) -> str | None:
        # Not in the stubs of Django, which calls it with and without a terminal.
        problem: str | None = vars(DjangoCommand)["_validate_username"](
            self, username, label, database
        )
        return problem or find_new_name_problem(username)

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the administrator and record it, in one transaction unless interactive.

        While a person types answers, a transaction would block all other writers.
        """
        ids_before = set(Person.objects.values_list("pk", flat=True))
        with nullcontext() if options["interactive"] else transaction.atomic():
            super().handle(*args, **options)
            for person in Person.objects.exclude(pk__in=ids_before):
                people.record_person_added(actor=command_actor(), person=person)
