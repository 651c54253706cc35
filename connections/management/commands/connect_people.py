"""Connect people to their accounts at the identity provider, from a CSV file."""

import csv
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from connections.access.actor import command_actor
from connections.core.errors import DomainError, InvalidInputError
from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.models import Person
from connections.people import provider_accounts

_COLUMNS = ("username", "subject")


class Command(OrgAdminCommand):
    """Connects each line's person, if the person has no other account there."""

    help = (
        "Connect people to their accounts at the identity provider, from CSV with the columns "
        "username,subject. A failed line doesn't affect others. Exit codes: 0 no line failed, 1 at "
        "least one failed, 2 usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file", required=True, metavar="CSV", help="UTF-8. - reads standard input."
        )

    def run(self, **options: Any) -> Result:
        if not settings.OIDC_ISSUER:
            self.usage_error("Set ORGADMIN_OIDC_ISSUER first: subjects belong to an issuer.")
        document: dict[str, list[dict[str, Any]]] = {"set": [], "unchanged": [], "failed": []}
        for number, cells in _read_lines(self.read_input(options["file"])):
            try:
                outcome = _connect(cells)
                document[outcome].append({"line": number, "username": cells[0]})
            except (DomainError, CommandError) as error:
                document["failed"].append({"line": number, "error": str(error)})
        lines = [
            f"line {row['line']}: {outcome} {row.get('username', '')}{row.get('error', '')}"
            for outcome, rows in document.items()
            for row in rows
        ]
        return Result(document, *lines, exit_code=FAILED if document["failed"] else 0)


def _read_lines(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """The line numbers and cells after the header. Raises InvalidInputError for a wrong header."""
    try:
        reader = csv.reader(content.decode("utf-8-sig").splitlines(), strict=True)
        header = [cell.strip().lower() for cell in next(reader, [])]
        if sorted(header) != sorted(_COLUMNS):
            raise InvalidInputError(
                {"file": "The first line must be the header: username,subject."}
            )
        order = [header.index(name) for name in _COLUMNS]
        for cells in reader:
            if cells:
                is_whole = len(cells) == len(_COLUMNS)
                yield reader.line_num, [cells[index] for index in order] if is_whole else []
    except (csv.Error, UnicodeDecodeError):
        raise InvalidInputError({"file": "The file isn't valid CSV in UTF-8."}) from None


def _connect(cells: list[str]) -> str:
    """Connect one person. Returns the outcome. Raises DomainError."""
    if not cells:
        raise InvalidInputError({"line": "Expected 2 columns: username,subject."})
    username, subject = (cell.strip() for cell in cells)
    person = Person.objects.filter(username=username).first()
    if person is None:
        raise InvalidInputError({"username": "There is no person with this username."})
    account = provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER)
    if account and account.subject == subject:
        return "unchanged"
    provider_accounts.connect_account(
        actor=command_actor(), person=person, issuer=settings.OIDC_ISSUER, subject=subject
    )
    return "set"
