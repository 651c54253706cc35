"""Connect people to their accounts at the identity provider, from a CSV file."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from connections.access.actor import command_actor
from connections.core.csv_import import import_csv, one_by_one
from connections.core.errors import InvalidInputError
from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.models import Person
from connections.people import provider_accounts


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
        result = import_csv(
            self.read_input(options["file"]),
            columns=("username", "subject"),
            apply_all=one_by_one(_connect),
            named_by=("username",),
        )
        return Result(result.document, *result.lines, exit_code=FAILED if result.failed else 0)


def _connect(row: dict[str, str]) -> bool:
    """Connect one person. Returns whether that was new. Raises DomainError."""
    person = Person.objects.filter(username=row["username"]).first()
    if person is None:
        raise InvalidInputError({"username": "There is no person with this username."})
    account = provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER)
    if account and account.subject == row["subject"]:
        return False
    provider_accounts.connect_account(
        actor=command_actor(), person=person, issuer=settings.OIDC_ISSUER, subject=row["subject"]
    )
    return True
