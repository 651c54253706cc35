"""Verify stored credentials from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.credentials import lifecycle as credential_lifecycle
from connections.management.base import (
    FAILED,
    OrgAdminCommand,
    Result,
    credential_document,
    credential_lines,
)


class Command(OrgAdminCommand):
    """Runs the key checks of one credential or all of them in parallel, and stores the results."""

    help = (
        "Verify every credential in use, or one. Exit codes: 0 all verified, 1 at least one isn't, "
        "2 usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--credential", metavar="NAME", help="Only this one. Default: all.")

    def run(self, **options: Any) -> Result:
        verified = credential_lifecycle.verify_credentials(
            actor=command_actor(), credentials=self.choose_credentials(options["credential"])
        )
        lines = [line for credential in verified for line in credential_lines(credential)]
        is_ok = all(credential.is_verified for credential in verified)
        return Result(
            {"credentials": [credential_document(credential) for credential in verified]},
            *(lines or ["No credentials."]),
            exit_code=0 if is_ok else FAILED,
        )
