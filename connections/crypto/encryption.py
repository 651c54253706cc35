"""Encrypting secrets for the database, and decrypting them. It raises and never falls back."""

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
    """An envelope does not open in its place: it was altered, moved, or is none at all."""


def encrypt(
    secret: Secret, *, purpose: str, row_id: str, field: str, site: str, version: int
) -> str:
    """The envelope of `secret`, bound to its place and made with the ring's primary key.

    Raises KeyRingError.
    """
    place = EncryptionContext(
        purpose=purpose, row_id=row_id, field=field, site=site, version=version
    )
    return encrypt_in_place(secret, place=place)


def decrypt(
    envelope: str, *, purpose: str, row_id: str, field: str, site: str, version: int
) -> Secret:
    """The secret in `envelope`, if it was encrypted for this very place.

    Raises DecryptionError when it was not or was altered, KeyRingError when its key is missing.
    """
    place = EncryptionContext(
        purpose=purpose, row_id=row_id, field=field, site=site, version=version
    )
    return decrypt_in_place(envelope, place=place)


def encrypt_in_place(secret: Secret, *, place: EncryptionContext) -> str:
    """`encrypt` for a place that is at hand as a whole."""
    ring = load_key_ring()
    key_id, nonce = ring.primary_id, secrets.token_bytes(NONCE_LENGTH)
    # No Unicode error may come of the secret, since such an error carries the text.
    sealed = ring.cipher(key_id).encrypt(
        nonce,
        secret.reveal().encode("utf-8", "surrogatepass"),
        place.associated_data(key_id=key_id),
    )
    return str(Envelope(key_id=key_id, nonce=nonce, sealed=sealed))


def decrypt_in_place(envelope: str, *, place: EncryptionContext) -> Secret:
    """`decrypt` for a place that is at hand as a whole."""
    if not envelope:
        raise DecryptionError(f"No secret is stored for {place}.")
    parsed = parse_envelope(envelope)
    if parsed is None:
        raise DecryptionError(f"What is stored for {place} is no envelope: it was altered.")
    secret = decrypt_envelope(load_key_ring(), parsed, place)
    if secret is None:
        raise DecryptionError(
            f"The secret of {place} does not open with key {parsed.key_id}: it was altered, or "
            "moved here from another row, field, site or version."
        )
    return secret


def decrypt_envelope(ring: KeyRing, envelope: Envelope, place: EncryptionContext) -> Secret | None:
    cipher = ring.cipher(envelope.key_id)
    try:
        return Secret(
            cipher.decrypt(
                envelope.nonce,
                envelope.sealed,
                place.associated_data(key_id=envelope.key_id),
            ).decode("utf-8", "surrogatepass")
        )
    except InvalidTag:
        return None


def check_key_ring() -> None:
    """Check that the key ring is usable and is the one that belongs to this database.

    For each key in use one stored secret must really open. A ring that is missing while none is
    needed yet (SQLite, no secret stored) is in order: its first use makes it. Changes nothing.

    Raises KeyRingError, which names the key id and what to do.
    """
    in_use = key_ids_in_use()
    may_be_made = settings.DATABASE_IS_SQLITE and not in_use
    if may_be_made and not Path(settings.KEYRING_FILE).exists():
        return
    ring = load_key_ring()
    for key_id in sorted(in_use):
        if not KEY_ID.fullmatch(key_id):
            raise KeyRingError("The database holds a secret that is no envelope: restore it.")
        if not _opens_something(ring, key_id):
            raise KeyRingError(
                f"Key {key_id} of the key ring {settings.KEYRING_FILE} opens none of the secrets "
                "that name it. Put back the key ring, or the database, that belongs to the other; "
                "nothing was changed."
            )


def _opens_something(ring: KeyRing, key_id: str) -> bool:
    ring.cipher(key_id)
    for column in ENCRYPTED_FIELDS:
        for stored in column.secrets(key_id=key_id):
            parsed = parse_envelope(stored.envelope)
            # One altered row must not stop the service: its own use will say what is wrong.
            if parsed is not None and decrypt_envelope(ring, parsed, stored.place) is not None:
                return True
    return False
