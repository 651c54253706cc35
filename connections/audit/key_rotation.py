"""Which key signed the record when: the path from the first key to the newest."""

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
from connections.audit.stored_events import AuditFault, Fault


class MissingPublicKeysError(Exception):
    """There are signatures, and not the public keys to check them with; the text says why."""


class KeyRotationVerifier:
    """Follows the rotations on the record from the first key of the file to its newest.

    The key file says which keys there were, the events say from when on each signed, and both
    keys of a rotation have signed it.
    """

    def __init__(self, *, origin: str) -> None:
        self._origin = origin
        self._problem = ""
        self._verifiers: list[CheckpointVerifier] = []
        # The key that is in force now, and the first that the record may end with.
        self._now = self._may_end = 0
        try:
            key = read_signing_key(Path(settings.SIGNING_KEY_FILE))
        except SigningKeyError as error:
            self._problem = str(error)
            return
        public_keys = key.next_key.public_keys if key.next_key else key.public_keys
        self._verifiers = [CheckpointVerifier(name=origin, public_key=each) for each in public_keys]
        self._may_end = len(key.public_keys) - 1

    @property
    def _known(self) -> list[CheckpointVerifier]:
        if not self._verifiers:
            raise MissingPublicKeysError(
                f"There are signatures, and not the public keys to check them with. {self._problem}"
            )
        return self._verifiers

    def follow(self, event: dict[str, Any]) -> None:
        """Go on to the key that this event puts in place. Raises BrokenError and NoKeysError."""
        known = self._known
        seq = event["seq"]
        old = known[self._now]
        new = known[self._now + 1] if self._now + 1 < len(known) else None
        if new is None or not _is_signed_by_both(event, old=old, new=new, origin=self._origin):
            raise AuditFault(
                Fault.ROTATION,
                seq,
                f"Event {seq} says that the signing key was replaced, and that is not what the key "
                f"in force ({fingerprint_of(old.public_key)[:16]}…) and the next one of the key "
                "file have signed.",
            )
        self._now += 1

    def check(self, name: str, note: SignedCheckpoint, *, proved: int) -> None:
        """Whether the key in force has signed this note. Raises BrokenError and NoKeysError.

        `proved` is the newest size at which a checkpoint held.
        """
        known = self._known
        if known[self._now].has_signed(note):
            return
        if any(each.has_signed(note) for each in known):
            raise AuditFault(
                Fault.ROTATION,
                proved + 1,
                f"The key that signed {name} was not in force then: the event that replaced the "
                f"key is missing, or comes elsewhere than it did. No event after {proved} can be "
                "relied on.",
                at_latest=max(note.size, proved + 1),
            )
        ours = ", ".join(f"{fingerprint_of(each.public_key)[:16]}…" for each in known)
        raise AuditFault(
            Fault.OTHER_KEY,
            proved + 1,
            f"No key of this installation ({ours}) signed {name} (size {note.size}). Either it or "
            f"the record was made by somebody else: no event after {proved} can be relied on.",
            at_latest=max(note.size, proved + 1),
        )

    def check_any(self, note: SignedCheckpoint) -> bool:
        """Whether some key of this installation has signed it. Raises NoKeysError."""
        return any(each.has_signed(note) for each in self._known)

    def check_end(self, *, size: int, proved: int) -> None:
        """Whether the record came as far as the key file. Raises BrokenError."""
        if self._now < self._may_end:
            missing = fingerprint_of(self._verifiers[self._now + 1].public_key)
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
        told = [
            base64.b64decode(details[name], validate=True)
            for name in (
                "previous_public_key",
                "public_key",
                "signature_by_previous",
                "signature_by_new",
            )
        ]
        place = (details["origin"], details["size"])
    except (KeyError, TypeError, ValueError, binascii.Error):
        return False
    statement = rotation_statement(
        origin=origin, size=event["seq"] - 1, previous=old.public_key, new=new.public_key
    )
    return (
        told[:2] == [old.public_key, new.public_key]
        and place == (origin, event["seq"] - 1)
        and old.has_made(told[2], of=statement)
        and new.has_made(told[3], of=statement)
    )
