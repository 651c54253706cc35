"""Verifies which key signed at which time: every rotation from the first key to the newest."""

from pathlib import Path
from typing import Any

from django.conf import settings

from connections.audit.signing import SigningKeyError, is_signed, read_signing_key
from connections.evidence.stored_events import AuditFault, Fault
from connections.verifier.messages import VerificationFailed, require
from connections.verifier.notes import CheckpointNote, find_signer, fingerprint_of, require_rotation


class MissingPublicKeysError(Exception):
    """The public keys that signatures are checked with are missing. The message says why."""


class KeyRotationVerifier:
    """Follows the recorded rotations from the first key in the key file to the newest.

    The key file lists the keys, events say when each one took effect, and both keys must have
    signed the rotation between them.
    """

    def __init__(self, *, origin: str) -> None:
        self._origin = origin
        self._problem = ""
        self._public_keys: tuple[bytes, ...] = ()
        # Indexes of the current key, and of the first key that the log can end with.
        self._current = self._min_last = 0
        try:
            key = read_signing_key(Path(settings.SIGNING_KEY_FILE))
        except SigningKeyError as error:
            self._problem = str(error)
            return
        self._public_keys = (key.next_key or key).public_keys
        self._min_last = len(key.public_keys) - 1

    @property
    def _known(self) -> tuple[bytes, ...]:
        if not self._public_keys:
            raise MissingPublicKeysError(
                f"There are signatures but no public keys to check them with. {self._problem}"
            )
        return self._public_keys

    def follow(self, event: dict[str, Any]) -> None:
        """Make the key that this event activates the current one.

        Raises AuditFault and MissingPublicKeysError.
        """
        old, *later = self._known[self._current :]
        seq, details = event["seq"], event["details"]
        try:
            require(later and isinstance(details, dict), "No such rotation is known.")
            require_rotation(details, seq, self._origin, old, later[0], is_signed)
        except VerificationFailed:
            raise AuditFault(
                Fault.ROTATION,
                seq,
                f"Event {seq} records a rotation of the signing key that the key in force "
                f"({_short(old)}) and the next key in the key file did not both sign.",
            ) from None
        self._current += 1

    def check(self, name: str, checkpoint: CheckpointNote, *, proved: int) -> None:
        """Check that the current key signed this checkpoint.

        `proved` is the size of the last correct checkpoint. Raises AuditFault and
        MissingPublicKeysError.
        """
        signer = self.check_is_ours(name, checkpoint, proved=proved)
        if signer != self._known[self._current]:
            raise AuditFault(
                Fault.ROTATION,
                proved + 1,
                f"The key that signed {name} was not in force then: the event that replaced the "
                f"key is missing or was moved. No event after {proved} can be relied on.",
                at_latest=max(checkpoint.size, proved + 1),
            )

    def check_is_ours(self, name: str, checkpoint: CheckpointNote, *, proved: int) -> bytes:
        """The key of this installation that signed it. Raises what `check` raises."""
        signer = find_signer(
            checkpoint.body, checkpoint.signature, self._origin, self._known, is_signed
        )
        if signer is None:
            ours = ", ".join(_short(key) for key in self._known)
            raise AuditFault(
                Fault.OTHER_KEY,
                proved + 1,
                f"No key of this installation ({ours}) signed {name} (size {checkpoint.size}). "
                "Either it or the audit log comes from elsewhere: no event after "
                f"{proved} can be relied on.",
                at_latest=max(checkpoint.size, proved + 1),
            )
        return signer

    def check_end(self, *, size: int, proved: int) -> None:
        """Check that the log contains every rotation of the key file. Raises AuditFault."""
        if self._current < self._min_last:
            raise AuditFault(
                Fault.ROTATION,
                min(proved + 1, size) or 1,
                f"The key file holds key {_short(self._public_keys[self._current + 1])}, but no "
                "event records its rotation: the event is missing, or the audit log is older than "
                "the key file.",
                at_latest=max(size, 1),
            )


def _short(public_key: bytes) -> str:
    return f"{fingerprint_of(public_key)[:16]}…"
