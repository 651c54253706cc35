"""Encrypt secrets for the database and decrypt them. Errors raise; there is no fallback."""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from django.conf import settings

from connections.core.secret import Secret
from connections.crypto.encrypted_fields import ENCRYPTED_FIELDS, key_ids_in_use
from connections.crypto.envelopes import (
    KEY_ID,
    NONCE_LENGTH,
    EncryptionContext,
    Envelope,
    parse_envelope,
)
from connections.crypto.key_ring import (
    EncryptionError,
    KeyRing,
    KeyRingError,
    load_key_ring,
    make_key_ring_if_allowed,
)

__all__ = [
    "DecryptionError",
    "EncryptionError",
    "KeyRing",
    "KeyRingError",
    "decrypt",
    "encrypt",
    "load_key_ring",
    "make_key_ring_if_allowed",
]


class DecryptionError(EncryptionError):
    """An envelope can't be decrypted: it was altered or moved, or is not an envelope."""


def encrypt(secret: Secret, *, context: EncryptionContext) -> str:
    """The envelope of `secret`, bound to its context and made with the ring's primary key.

    Raises KeyRingError.
    """
    ring = load_key_ring()
    key_id, nonce = ring.primary_id, secrets.token_bytes(NONCE_LENGTH)
    # surrogatepass: a UnicodeEncodeError would contain the secret.
    sealed = ring.cipher(key_id).encrypt(
        nonce,
        secret.reveal().encode("utf-8", "surrogatepass"),
        context.associated_data(key_id=key_id),
    )
    return str(Envelope(key_id=key_id, nonce=nonce, sealed=sealed))


def decrypt(envelope: str, *, context: EncryptionContext) -> Secret:
    """The secret in `envelope`, if it was encrypted for exactly this context.

    Raises DecryptionError when it was not or was altered, KeyRingError when its key is missing.
    """
    if not envelope:
        raise DecryptionError(f"No secret is stored for {context}.")
    parsed = parse_envelope(envelope)
    if parsed is None:
        raise DecryptionError(f"What is stored for {context} is no envelope: it was altered.")
    secret = decrypt_envelope(load_key_ring(), parsed, context)
    if secret is None:
        raise DecryptionError(
            f"The secret of {context} does not open with key {parsed.key_id}: it was altered, or "
            "moved here from another row, field, site or version."
        )
    return secret


def decrypt_envelope(
    ring: KeyRing, envelope: Envelope, context: EncryptionContext
) -> Secret | None:
    """The secret; None when the envelope was altered or belongs to another context."""
    cipher = ring.cipher(envelope.key_id)
    try:
        return Secret(
            cipher.decrypt(
                envelope.nonce,
                envelope.sealed,
                context.associated_data(key_id=envelope.key_id),
            ).decode("utf-8", "surrogatepass")
        )
    except InvalidTag:
        return None


def check_key_ring() -> None:
    """Check that the key ring is usable and is the one that belongs to this database.

    For each key in use, it must decrypt at least one stored secret. A missing ring is fine while
    none is needed yet (SQLite, no secret stored): its first use creates it. Changes nothing.

    Raises KeyRingError, which names the key id and what to do.
    """
    in_use = key_ids_in_use()
    may_be_created = settings.DATABASE_IS_SQLITE and not in_use
    if may_be_created and not Path(settings.KEYRING_FILE).exists():
        return
    ring = load_key_ring()
    for key_id in sorted(in_use):
        if not KEY_ID.fullmatch(key_id):
            raise KeyRingError("The database holds a secret that is no envelope: restore it.")
        if not _decrypts_any(ring, key_id):
            raise KeyRingError(
                f"Key {key_id} of the key ring {settings.KEYRING_FILE} opens none of the secrets "
                "that name it. Put back the key ring, or the database, that belongs to the other; "
                "nothing was changed."
            )


def _decrypts_any(ring: KeyRing, key_id: str) -> bool:
    ring.cipher(key_id)
    for field in ENCRYPTED_FIELDS:
        for stored in field.secrets(key_id=key_id):
            parsed = parse_envelope(stored.envelope)
            # One altered row must not stop the service: using that row reports the error.
            if parsed is not None and decrypt_envelope(ring, parsed, stored.context) is not None:
                return True
    return False
