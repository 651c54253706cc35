"""Retire every credential and remove every MFA method that a lost key ring encrypted."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.credentials.retirement import list_requests_without_effect
from connections.management.base import USAGE, OrgAdminCommand, Result
from connections.operations.lost_keys import find_lost_secrets, forget_lost_secrets


class Command(OrgAdminCommand):
    """Exit code 0 when it is done or there is nothing to do, 2 without `--yes`."""

    help = (
        "Retire the credentials and remove the MFA methods that no key of the key ring decrypts. "
        "First put a new key ring in place (make_keys)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Required: this can't be undone.")

    def run(self, **options: Any) -> Result:
        lost = find_lost_secrets()
        withdrawn = [
            each
            for credential in lost.credentials
            for each in list_requests_without_effect(credential)
        ]
        document = {
            "done": bool(options["yes"] or not lost),
            "credentials": [each.name for each in lost.credentials],
            "people": [each.username for each in lost.people],
            "withdrawn": [each.pk for each in withdrawn],
        }
        lines = [
            *(f"Retire credential {each.name} ({each.site})" for each in lost.credentials),
            *(f"Remove MFA of {each.username}" for each in lost.people),
            *(f"Withdraw {each.label} {each.description}" for each in withdrawn),
        ]
        if not lost:
            return Result(document, "The key ring decrypts every stored secret. Nothing to do.")
        if not options["yes"]:
            errors = ["Nothing was changed. Add --yes: this can't be undone."]
            return Result(document, "With --yes:", *lines, errors=errors, exit_code=USAGE)
        forget_lost_secrets(actor=command_actor())
        return Result(document, *lines, f"Done. {_NEXT}")


_NEXT = (
    "The service can start. Add new keys from Datadog (add_credential, import_credentials), and "
    "make sign-in links for people without MFA (make_sign_in_link)."
)
