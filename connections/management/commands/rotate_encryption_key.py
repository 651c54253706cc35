"""Rotate the key that stored secrets are encrypted with, while the service runs."""

import dataclasses
import json
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from connections.access.actor import command_actor
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.operations.key_rotation import (
    KeyRotation,
    rotate_encryption_key,
    stage_encryption_key,
)


class Command(BaseCommand):
    """Exit code 0 when every stored secret is under the primary key, else 1."""

    help = (
        "Add a key to the key ring and encrypt every stored secret with it. The service may go on "
        "meanwhile. Where several machines have copies of the key ring: --stage, replace every "
        "copy, rotate, replace every copy again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_mutually_exclusive_group()
        actions.add_argument(
            "--stage",
            action="store_true",
            help="Only make the key that the next rotation is to use.",
        )
        actions.add_argument(
            "--no-new-key",
            action="store_true",
            help="Keep the primary key: finish an interrupted rotation, or only drop keys.",
        )
        parser.add_argument(
            "--drop-unused",
            action="store_true",
            help="Remove keys that nothing needs, except the one that was primary until now.",
        )
        parser.add_argument("--json", action="store_true", help="One JSON document on output.")

    def handle(self, *args: object, **options: object) -> None:
        try:
            check_key_ring()
            if options["stage"]:
                self._stage(as_json=bool(options["json"]))
                return
            rotation = rotate_encryption_key(
                actor=command_actor(),
                make_key=not options["no_new_key"],
                drop_unused=bool(options["drop_unused"]),
            )
        except EncryptionError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"error": str(error)}))
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(dataclasses.asdict(rotation)))
        else:
            self.stdout.write(_sentences(rotation))
        if rotation.left:
            raise CommandError(
                f"{len(rotation.left)} stored secrets are not under the primary key:\n"
                + "\n".join(rotation.left)
            )

    def _stage(self, *, as_json: bool) -> None:
        key_id = stage_encryption_key(actor=command_actor())
        sentence = f"Key {key_id} is on the key ring and will be used by the next rotation."
        self.stdout.write(json.dumps({"staged_key_id": key_id}) if as_json else sentence)


def _sentences(rotation: KeyRotation) -> str:
    sentences = [
        f"The primary key is {rotation.primary_key_id} (before: {rotation.previous_key_id}).",
        f"Encrypted again: {rotation.reencrypted}.",
    ]
    if rotation.dropped_key_ids:
        sentences.append(f"Dropped: {', '.join(rotation.dropped_key_ids)}.")
    if rotation.other_key_ids:
        sentences.append(f"Still on the ring: {', '.join(rotation.other_key_ids)}.")
    return "\n".join(sentences)
