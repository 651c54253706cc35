"""Check the keys of stored credentials from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.credentials import lifecycle as credential_lifecycle
from connections.management import base
from connections.management.base import OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Runs the key checks of one credential or all of them in parallel, and stores the results."""

    help = (
        "Check the keys of every credential in use, or of one. Exit codes: 0 all accepted, 1 at "
        "least one isn't, 2 usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--credential", metavar="NAME", help="Only this one. Default: all.")

    def run(self, **options: Any) -> Result:
        credentials = credential_lifecycle.verify_credentials(
            actor=command_actor(), credentials=self.choose_credentials(options["credential"])
        )
        lines = [line for credential in credentials for line in base.credential_lines(credential)]
        is_ok = all(credential.is_verified for credential in credentials)
        return Result(
            {"credentials": [base.credential_document(credential) for credential in credentials]},
            *(lines or ["No credentials."]),
            exit_code=0 if is_ok else base.FAILED,
        )
