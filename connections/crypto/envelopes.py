"""The text form of an encrypted secret, and the context in the database that it is bound to.

    v1.<key id>.<base64url of nonce (12 bytes), ciphertext, tag (16 bytes)>

AES-256-GCM with a random nonce. The associated data holds the version, the key id and the
context, so a ciphertext that is moved to another row, column or site can't be decrypted.
"""

import base64
import binascii
import re
import struct
from dataclasses import dataclass

VERSION = "v1"
NONCE_LENGTH = 12
_TAG_LENGTH = 16
KEY_ID_LENGTH = 16
KEY_ID_OFFSET = len(f"{VERSION}.")
KEY_ID = re.compile(rf"[0-9a-f]{{{KEY_ID_LENGTH}}}", re.ASCII)
_ENVELOPE = re.compile(
    rf"{VERSION}\.(?P<key_id>{KEY_ID.pattern})\.(?P<data>[A-Za-z0-9_-]+=*)", re.ASCII
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptionContext:
    """Where a secret is stored: its purpose, row, field, site and version."""

    purpose: str
    row_id: str
    field: str
    site: str
    version: int

    def associated_data(self, *, key_id: str) -> bytes:
        """The context as bytes. Each part is preceded by its length, so contexts never collide."""
        parts = (
            f"orgadmin {VERSION}",
            key_id,
            self.purpose,
            self.row_id,
            self.field,
            self.site,
            str(self.version),
        )
        encoded = (part.encode() for part in parts)
        return b"".join(struct.pack(">I", len(part)) + part for part in encoded)

    def __str__(self) -> str:
        return f"{self.purpose} {self.row_id} ({self.field}, version {self.version})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """The parts of one envelope. `sealed` is the ciphertext with its tag."""

    key_id: str
    nonce: bytes
    sealed: bytes

    def __str__(self) -> str:
        data = base64.urlsafe_b64encode(self.nonce + self.sealed).decode()
        return f"{VERSION}.{self.key_id}.{data}"


def parse_envelope(text: str) -> Envelope | None:
    """The parts of the envelope `text`.

    None unless `text` is exactly how the envelope is written.
    """
    match = _ENVELOPE.fullmatch(text)
    if match is None:
        return None
    try:
        data = base64.b64decode(match["data"], altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    if len(data) < NONCE_LENGTH + _TAG_LENGTH:
        return None
    envelope = Envelope(
        key_id=match["key_id"], nonce=data[:NONCE_LENGTH], sealed=data[NONCE_LENGTH:]
    )
    # Base64 ignores the spare bits at its end, so two texts could decode to the same envelope.
    return envelope if str(envelope) == text else None
