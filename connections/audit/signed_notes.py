"""Checkpoints as signed notes: C2SP signed-note and tlog-checkpoint, with Ed25519 (RFC 8032)."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from connections.audit.signing_key import SigningKey

_ED25519 = b"\x01"
_SIGNATURE = re.compile(r"\u2014 (\S+) (\S+)")
_CHECKPOINT = re.compile(r"[^\n]+\n[0-9]+\n[^\n]+\n\n(?:\u2014 [^\n]+\n)+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class InvalidCheckpointError(ValueError):
    """A text is no checkpoint as docs/EVIDENCE.md defines them; the message says why."""


@dataclass(frozen=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint: the root (32 bytes) of the first `size` events of the log `origin`."""

    origin: str
    size: int
    root: bytes
    # Each is a key name, and the key id followed by the signature.
    signatures: tuple[tuple[str, bytes], ...]

    @property
    def body(self) -> bytes:
        """The bytes that are signed."""
        return note_body(origin=self.origin, size=self.size, root=self.root)

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether this key signed it, under the name of the log."""
        return CheckpointVerifier(name=self.origin, public_key=public_key).has_signed(self)


class CheckpointVerifier:
    """Verifies signatures by one public key of one log."""

    def __init__(self, *, name: str, public_key: bytes) -> None:
        self.public_key = public_key
        self._name = name
        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self._id = key_id(name=name, public_key=public_key)

    def has_signed(self, checkpoint: SignedCheckpoint) -> bool:
        """Whether this key signed the checkpoint, under the name of the log."""
        return any(
            name == self._name
            and data[:4] == self._id
            and self.has_made(data[4:], of=checkpoint.body)
            for name, data in checkpoint.signatures
        )

    def has_made(self, signature: bytes, *, of: bytes) -> bool:
        """Whether this key made this signature of these bytes."""
        try:
            self._key.verify(signature, of)
        except InvalidSignature:
            return False
        return True


def note_body(*, origin: str, size: int, root: bytes) -> bytes:
    """The three signed lines of a checkpoint."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def key_id(*, name: str, public_key: bytes) -> bytes:
    """The four bytes by which a signature names its key. They prove nothing."""
    return hashlib.sha256(b"%b\n%b%b" % (name.encode(), _ED25519, public_key)).digest()[:4]


def verifier_key(*, name: str, public_key: bytes) -> str:
    """The public key in the format of signed-note tools: name, key id and key in one line."""
    coded = base64.b64encode(_ED25519 + public_key).decode()
    return f"{name}+{key_id(name=name, public_key=public_key).hex()}+{coded}"


def spoken_code(text: str) -> str:
    """Twenty digits to compare a checkpoint by reading them out: "04711 98203 55170 26648".

    Made from the SHA-256 of the signed body, so they change with origin, size and root;
    docs/EVIDENCE.md defines them. Raises InvalidCheckpointError.
    """
    digest = hashlib.sha256(parse_checkpoint(text).body).digest()
    groups = (int.from_bytes(digest[start : start + 5], "big") for start in range(0, 20, 5))
    return " ".join(f"{group % 100_000:05}" for group in groups)


def sign_checkpoint(*, origin: str, size: int, root: bytes, key: SigningKey) -> str:
    """The text of a checkpoint signed with this key."""
    body = note_body(origin=origin, size=size, root=root)
    return f"{body.decode()}\n{signature_line(origin=origin, body=body, key=key)}"


def signature_line(*, origin: str, body: bytes, key: SigningKey) -> str:
    """The signature line for a body (which ends with a line feed), under the log's name."""
    signature = key_id(name=origin, public_key=key.public_key) + key.sign(body)
    return f"\u2014 {origin} {base64.b64encode(signature).decode()}\n"


def parse_checkpoint(text: str) -> SignedCheckpoint:
    """The checkpoint in a text, its signatures not verified. Raises InvalidCheckpointError."""
    head, blank, tail = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or len(lines) < 3 or not tail.endswith("\n"):
        raise InvalidCheckpointError("This is no checkpoint: it lacks its lines or its signature.")
    if len(lines) > 3:
        raise InvalidCheckpointError("This checkpoint holds lines that are not known here.")
    origin, size, root = lines
    if not _SIZE.fullmatch(size):
        raise InvalidCheckpointError("The size of this checkpoint is no whole number.")
    signatures = tuple(_signature(line) for line in tail[:-1].split("\n"))
    decoded = _decode(root)
    if len(decoded) != 32:
        raise InvalidCheckpointError("The root of this checkpoint is no SHA-256 hash.")
    return SignedCheckpoint(origin=origin, size=int(size), root=decoded, signatures=signatures)


def split_checkpoints(text: str) -> list[str]:
    """The checkpoints in a text that holds several, like a recipient's file.

    Any other text is returned as the only item: `parse_checkpoint` then says what is wrong.
    """
    text = text.replace("\r\n", "\n")
    notes = [match[0] for match in _CHECKPOINT.finditer(text)]
    rest = _CHECKPOINT.sub("", text)
    return notes if notes and not rest.strip() else [text]


def _signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if not match:
        raise InvalidCheckpointError("A signature line of this checkpoint cannot be read.")
    return match[1], _decode(match[2])


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidCheckpointError("This checkpoint holds something that is no base64.") from None
