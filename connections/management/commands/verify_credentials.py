"""Verify stored credentials from the command line."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.credentials import lifecycle as credential_lifecycle
from connections.inventory.sync import credentials_in_use
from connections.management.base import FAILED, OrgAdminCommand
from connections.management.credential_documents import credential_document, credential_text
from connections.models import Credential


class Command(OrgAdminCommand):
    """Runs the key checks of one credential or all in parallel and stores the results."""

    help = (
        "Verify every credential in use, or one. Exit code 0: all are verified; 1: at least one "
        "is not; 2: usage."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--credential", metavar="NAME", help="Only this one.")

    def run(self, **options: Any) -> None:
        chosen = self._chosen(options["credential"])
        verified = credential_lifecycle.verify_credentials(
            actor=command_actor(), credentials=chosen
        )
        text = "\n".join(map(credential_text, verified)) or "There is no credential yet."
        self.emit({"credentials": [credential_document(one) for one in verified]}, text)
        if not all(credential.is_verified for credential in verified):
            raise SystemExit(FAILED)

    def _chosen(self, name: str | None) -> list[Credential]:
        in_use = credentials_in_use(actor=command_actor())
        if name is None:
            return in_use
        named = [one for one in in_use if one.name.casefold() == name.casefold()]
        if not named:
            self.usage_error(f"There is no credential in use called {name!r}.")
        return named
