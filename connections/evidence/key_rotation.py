"""Verifies which key signed when: the rotations from the first key to the newest."""

import base64
import binascii
from pathlib import Path
from typing import Any

from django.conf import settings

from connections.audit.signed_notes import CheckpointVerifier, SignedCheckpoint
from connections.audit.signing_key import (
    SigningKeyError,
    fingerprint_of,
    read_signing_key,
    rotation_statement,
)
from connections.evidence.stored_events import AuditFault, Fault


class MissingPublicKeysError(Exception):
    """The public keys to check signatures with are missing; the message says why."""


class KeyRotationVerifier:
    """Follows the recorded rotations from the first key in the key file to the newest.

    The key file lists the keys, the events tell when each took effect, and both keys must have
    signed a rotation.
    """

    def __init__(self, *, origin: str) -> None:
        self._origin = origin
        self._problem = ""
        self._verifiers: list[CheckpointVerifier] = []
        # Indexes of the current key, and of the first key with which the log may end.
        self._current = self._min_last = 0
        try:
            key = read_signing_key(Path(settings.SIGNING_KEY_FILE))
        except SigningKeyError as error:
            self._problem = str(error)
            return
        public_keys = key.next_key.public_keys if key.next_key else key.public_keys
        self._verifiers = [CheckpointVerifier(name=origin, public_key=each) for each in public_keys]
        self._min_last = len(key.public_keys) - 1

    @property
    def _known(self) -> list[CheckpointVerifier]:
        if not self._verifiers:
            raise MissingPublicKeysError(
                f"There are signatures, and not the public keys to check them with. {self._problem}"
            )
        return self._verifiers

    def follow(self, event: dict[str, Any]) -> None:
        """Change to the key that this event puts in force.

        Raises AuditFault and MissingPublicKeysError.
        """
        known = self._known
        seq = event["seq"]
        old = known[self._current]
        new = known[self._current + 1] if self._current + 1 < len(known) else None
        if new is None or not _is_signed_by_both(event, old=old, new=new, origin=self._origin):
            raise AuditFault(
                Fault.ROTATION,
                seq,
                f"Event {seq} says that the signing key was replaced, and that is not what the key "
                f"in force ({fingerprint_of(old.public_key)[:16]}…) and the next one of the key "
                "file have signed.",
            )
        self._current += 1

    def check(self, name: str, checkpoint: SignedCheckpoint, *, proved: int) -> None:
        """Check that the current key signed this checkpoint.

        `proved` is the size of the last checkpoint that was correct. Raises AuditFault and
        MissingPublicKeysError.
        """
        known = self._known
        if known[self._current].has_signed(checkpoint):
            return
        if any(each.has_signed(checkpoint) for each in known):
            raise AuditFault(
                Fault.ROTATION,
                proved + 1,
                f"The key that signed {name} was not in force then: the event that replaced the "
                f"key is missing, or comes elsewhere than it did. No event after {proved} can be "
                "relied on.",
                at_latest=max(checkpoint.size, proved + 1),
            )
        ours = ", ".join(f"{fingerprint_of(each.public_key)[:16]}…" for each in known)
        raise AuditFault(
            Fault.OTHER_KEY,
            proved + 1,
            f"No key of this installation ({ours}) signed {name} (size {checkpoint.size}). Either "
            f"it or the record was made by somebody else: no event after {proved} can be "
            "relied on.",
            at_latest=max(checkpoint.size, proved + 1),
        )

    def is_signed_by_any(self, checkpoint: SignedCheckpoint) -> bool:
        """Whether any key of this installation signed it. Raises MissingPublicKeysError."""
        return any(each.has_signed(checkpoint) for each in self._known)

    def check_end(self, *, size: int, proved: int) -> None:
        """Check that the log has every rotation of the key file. Raises AuditFault."""
        if self._current < self._min_last:
            missing = fingerprint_of(self._verifiers[self._current + 1].public_key)
            raise AuditFault(
                Fault.ROTATION,
                min(proved + 1, size) or 1,
                f"The key file holds the key {missing[:16]}…, and no event put it in place: it is "
                "missing, or the record is older than the file.",
                at_latest=max(size, 1),
            )


def _is_signed_by_both(
    event: dict[str, Any], *, old: CheckpointVerifier, new: CheckpointVerifier, origin: str
) -> bool:
    try:
        details: dict[str, Any] = event["details"]
        decoded = [
            base64.b64decode(details[name], validate=True)
            for name in (
                "previous_public_key",
                "public_key",
                "signature_by_previous",
                "signature_by_new",
            )
        ]
        position = (details["origin"], details["size"])
    except (KeyError, TypeError, ValueError, binascii.Error):
        return False
    statement = rotation_statement(
        origin=origin, size=event["seq"] - 1, previous=old.public_key, new=new.public_key
    )
    return (
        decoded[:2] == [old.public_key, new.public_key]
        and position == (origin, event["seq"] - 1)
        and old.has_made(decoded[2], of=statement)
        and new.has_made(decoded[3], of=statement)
    )
