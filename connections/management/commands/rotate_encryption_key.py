"""Rotate the key that stored secrets are encrypted with, while the service runs."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from connections.access.actor import command_actor
from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.operations.key_rotation import (
    KeyRotation,
    rotate_encryption_key,
    stage_encryption_key,
)


class Command(OrgAdminCommand):
    """Exit code 0 if the primary key encrypts every stored secret, otherwise 1."""

    help = (
        "Add a key to the key ring and encrypt every stored secret with it. The service can be "
        "running. If several machines have copies of the key ring: --stage, replace every copy, "
        "rotate, replace every copy again."
    )
    needs_keys = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_mutually_exclusive_group()
        actions.add_argument(
            "--stage",
            action="store_true",
            help="Only make the key for the next rotation.",
        )
        actions.add_argument(
            "--no-new-key",
            action="store_true",
            help="Keep the primary key: finish an interrupted rotation, or only remove keys.",
        )
        parser.add_argument(
            "--drop-unused",
            action="store_true",
            help="Remove keys that no stored secret needs, except the previous primary key.",
        )

    def run(self, **options: Any) -> Result:
        if options["stage"]:
            key_id = stage_encryption_key(actor=command_actor())
            return Result({"staged_key_id": key_id}, f"Staged key {key_id} for the next rotation.")
        rotation = rotate_encryption_key(
            actor=command_actor(),
            make_key=not options["no_new_key"],
            drop_unused=options["drop_unused"],
        )
        result = Result(asdict(rotation), *_sentences(rotation))
        if rotation.left:
            result.errors = ["Stored secrets not encrypted with the primary key:", *rotation.left]
            result.exit_code = FAILED
        return result


def _sentences(rotation: KeyRotation) -> list[str]:
    has_new_key = rotation.primary_key_id != rotation.previous_key_id
    previous = f" (previously {rotation.previous_key_id})" if has_new_key else ""
    sentences = [
        f"Primary key: {rotation.primary_key_id}{previous}.",
        f"Secrets re-encrypted: {rotation.reencrypted}.",
    ]
    if rotation.dropped_key_ids:
        sentences.append(f"Removed keys: {', '.join(rotation.dropped_key_ids)}.")
    if rotation.other_key_ids:
        sentences.append(f"Other keys on the ring: {', '.join(rotation.other_key_ids)}.")
    if has_new_key:
        sentences.append("Back up the key ring again: an older copy might not contain this key.")
    return sentences
