"""Replace the key that signs checkpoints."""

from typing import Any

from connections.access.actor import command_actor
from connections.audit.checkpoints import rotate_signing_key
from connections.management.base import OrgAdminCommand, Result


class Command(OrgAdminCommand):
    """Rotates the signing key. Both keys sign the event that records it."""

    help = (
        "Replace the key that signs checkpoints. Only the public part of the old one is kept, so "
        "that older checkpoints still verify. Copy the file to every machine afterwards."
    )

    def run(self, **options: Any) -> Result:
        key = rotate_signing_key(actor=command_actor())
        return Result(
            {"fingerprint": key.fingerprint},
            f"Signing key {key.fingerprint} is in use. Back up its file, and give the new "
            "fingerprint to the checkpoint recipients.",
        )
