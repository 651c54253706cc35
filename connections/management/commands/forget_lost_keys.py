"""Retire every credential and remove every MFA method that a lost key ring encrypted."""

from argparse import ArgumentParser
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import USAGE, OrgAdminCommand, Result
from connections.operations.lost_keys import LostSecrets, find_lost_secrets, forget_lost_secrets


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
        if lost and options["yes"]:
            lost = forget_lost_secrets(actor=command_actor())
        document = {
            "done": bool(options["yes"] or not lost),
            "credentials": [each.name for each in lost.credentials],
            "people": [each.username for each in lost.people],
            "withdrawn": [each.pk for each in lost.withdrawn],
            "left_open": [each.pk for each in lost.left_open],
        }
        if not lost:
            return Result(document, "The key ring decrypts every stored secret. Nothing to do.")
        lines = _lines(lost)
        if options["yes"]:
            return Result(document, "Done. The service can start.", *lines, *_next_steps(lost))
        return Result(
            document,
            "With --yes:",
            *lines,
            errors=["Nothing was changed. Add --yes: this can't be undone."],
            exit_code=USAGE,
        )


def _lines(lost: LostSecrets) -> list[str]:
    lines = [f"Retire credential {each.name} ({each.site})" for each in lost.credentials]
    lines += [f"Remove MFA of {each.username}" for each in lost.people]
    lines += [f"Withdraw {each.label} {each.description}" for each in lost.withdrawn]
    lines += [
        f"Leave open: {each.label} {each.description}, {each.state}" for each in lost.left_open
    ]
    return lines


def _next_steps(lost: LostSecrets) -> list[str]:
    steps = []
    if lost.people:
        steps.append(
            "Make sign-in links for people without MFA: make_sign_in_link --username USERNAME."
        )
    if lost.credentials:
        steps.append("Add new keys from Datadog: add_credential or import_credentials.")
    return steps
