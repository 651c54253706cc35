"""Encrypts and decrypts secrets in the database, with the keys of the key ring.

Errors raise; there is no fallback. The key ring is a JSON document in a file of mode 0600:

    {"format": "orgadmin key ring 1",
     "primary": "<id>",
     "staged": "<id>",
     "keys": {"<id>": {"key": "<base64 of 32 bytes>", "created_at": "<UTC, ISO 8601>"}}}

New secrets are encrypted with the primary key; the others decrypt older secrets. The optional
staged key becomes the next primary key. It is created in advance so that every machine can have
it before any secret needs it. An id is derived from its key, so reading detects an altered key.
Text that contains keys is kept inside a Secret, because error pages show local variables.
"""

import base64
import binascii
import datetime
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from connections.core.private_files import (
    PrivateFileError,
    create_private_text_once,
    read_private_text,
    update_private_text,
)
from connections.core.secret import Secret
from connections.crypto.encrypted_fields import (
    ENCRYPTED_FIELDS,
    StoredSecret,
    key_ids_in_use,
)
from connections.crypto.envelopes import (
    KEY_ID,
    KEY_ID_LENGTH,
    NONCE_LENGTH,
    EncryptionContext,
    Envelope,
    parse_envelope,
)

FORMAT = "orgadmin key ring 1"
KEY_LENGTH = 32
_IF_LOST = "If there is no backup, run `./run manage forget_lost_keys`: it says what it will do."


class EncryptionError(Exception):
    """A secret could not be encrypted or decrypted. The message names keys only by ID."""


class KeyRingError(EncryptionError):
    """The key ring is missing, damaged or readable by others, or lacks a needed key."""


class DecryptionError(EncryptionError):
    """An envelope can't be decrypted: it was altered or moved, or it isn't an envelope."""


class KeyRing:
    """Keys by ID, one of them primary. Exposes IDs and ciphers, never the keys."""

    __slots__ = ("_ciphers", "primary_id", "staged_id")

    def __init__(
        self, *, ciphers: Mapping[str, AESGCM], primary_id: str, staged_id: str | None
    ) -> None:
        self._ciphers = dict(ciphers)
        self.primary_id = primary_id
        self.staged_id = staged_id

    @property
    def key_ids(self) -> frozenset[str]:
        """The IDs of all keys on the ring."""
        return frozenset(self._ciphers)

    def encrypt(self, secret: Secret, *, context: EncryptionContext) -> str:
        """The envelope of `secret`, made with the primary key and bound to its context."""
        key_id, nonce = self.primary_id, secrets.token_bytes(NONCE_LENGTH)
        # surrogatepass, because a UnicodeEncodeError would contain the secret.
        sealed = self.cipher(key_id).encrypt(
            nonce,
            secret.reveal().encode("utf-8", "surrogatepass"),
            context.associated_data(key_id=key_id),
        )
        return str(Envelope(key_id=key_id, nonce=nonce, sealed=sealed))

    def decrypt(self, envelope: Envelope, *, context: EncryptionContext) -> Secret | None:
        """The secret. None if the envelope was altered or belongs to another context.

        Raises KeyRingError when its key is not on the ring.
        """
        cipher = self.cipher(envelope.key_id)
        associated_data = context.associated_data(key_id=envelope.key_id)
        try:
            # Not in a variable, because error pages show local variables.
            return Secret(
                cipher.decrypt(envelope.nonce, envelope.sealed, associated_data).decode(
                    "utf-8", "surrogatepass"
                )
            )
        except InvalidTag:
            return None

    def can_decrypt(self, stored: StoredSecret) -> bool:
        """Whether one of the keys decrypts this secret from the database."""
        parsed = parse_envelope(stored.envelope)
        if parsed is None or parsed.key_id not in self.key_ids:
            return False
        return self.decrypt(parsed, context=stored.context) is not None

    def cipher(self, key_id: str) -> AESGCM:
        """The cipher of one key. Raises KeyRingError when the key is not on the ring."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyRingError(
                f"The key ring {settings.KEYRING_FILE} has no key {key_id}, which stored secrets "
                f"need (it has {', '.join(sorted(self._ciphers))}). Put back the key ring that "
                f"belongs to this database; nothing was changed. {_IF_LOST}"
            )
        return cipher

    def __repr__(self) -> str:
        return f"KeyRing(primary_id={self.primary_id!r}, keys={len(self._ciphers)})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("A KeyRing cannot be serialized.")


def encrypt(secret: Secret, *, context: EncryptionContext) -> str:
    """The envelope of `secret`, bound to its context and made with the ring's primary key.

    Raises KeyRingError.
    """
    return load_key_ring().encrypt(secret, context=context)


def decrypt(envelope: str, *, context: EncryptionContext) -> Secret:
    """The secret in `envelope`, if it was encrypted for exactly this context.

    Raises DecryptionError when it was not or was altered, and KeyRingError when its key is missing.
    """
    if not envelope:
        raise DecryptionError(f"No secret is stored for {context}.")
    parsed = parse_envelope(envelope)
    if parsed is None:
        raise DecryptionError(
            f"The stored value of {context} isn't an encrypted envelope: it was altered."
        )
    secret = load_key_ring().decrypt(parsed, context=context)
    if secret is None:
        raise DecryptionError(
            f"The secret of {context} can't be decrypted with key {parsed.key_id}: it was altered, "
            "or moved here from another row, field, site or version."
        )
    return secret


type _Stamp = tuple[int, ...]
_loaded: tuple[str, _Stamp, KeyRing] | None = None


def load_key_ring() -> KeyRing:
    """The ring in KEYRING_FILE, cached until that file changes.

    Creates a missing ring if `make_key_ring_if_allowed` allows it.

    Raises KeyRingError.
    """
    global _loaded
    path = Path(settings.KEYRING_FILE)
    stamp = _stamp_of(path)
    if stamp is None:
        return make_key_ring_if_allowed()
    loaded = _loaded
    if loaded is not None and loaded[:2] == (str(path), stamp):
        return loaded[2]
    ring = read_key_ring(path)
    _loaded = (str(path), stamp, ring)
    return ring


def make_key_ring_if_allowed() -> KeyRing:
    """The ring in KEYRING_FILE, created if there is none. Safe for concurrent processes.

    Creates it only with SQLite, which no other machine shares, and only while the database contains
    no secret: a new ring couldn't decrypt any, and would hide that the old one is missing.

    Raises KeyRingError.
    """
    path = Path(settings.KEYRING_FILE)
    in_use = key_ids_in_use()
    # After the query, because another process might have created the ring and stored a secret.
    if not path.exists():
        if in_use:
            raise KeyRingError(
                f"There is no key ring at {path}, and this database holds secrets encrypted with "
                f"key {', '.join(sorted(in_use))}. Put the key ring back from its backup; nothing "
                "was changed. If it is lost, run `./run manage make_keys --output DIR`, put its "
                f"keyring.json at {path}, and run `./run manage forget_lost_keys`."
            )
        if not settings.DATABASE_IS_SQLITE:
            raise KeyRingError(
                f"There is no key ring at {path}. With PostgreSQL, none is created automatically, "
                "because every process must share one: run `./run manage make_keys --output DIR` "
                "once and set ORGADMIN_KEYRING_FILE to its keyring.json."
            )
    try:
        create_private_text_once(path, lambda: new_key_ring_text().reveal())
    except PrivateFileError as error:
        raise KeyRingError(str(error)) from None
    return read_key_ring(path)


def check_key_ring() -> None:
    """Check that the key ring is usable and belongs to this database.

    It must decrypt at least one stored secret of each key in use. A missing ring is fine while none
    is needed yet (SQLite, no secret stored), because its first use creates it. Changes nothing.

    Raises KeyRingError, which names the key ID and what to do.
    """
    in_use = key_ids_in_use()
    can_create = settings.DATABASE_IS_SQLITE and not in_use
    if can_create and not Path(settings.KEYRING_FILE).exists():
        return
    ring = load_key_ring()
    for key_id in sorted(in_use):
        if not KEY_ID.fullmatch(key_id):
            raise KeyRingError(
                "The database contains a secret that isn't an encrypted envelope. Restore a "
                f"backup. {_IF_LOST}"
            )
        if not _decrypts_any(ring, key_id):
            raise KeyRingError(
                f"Key {key_id} of the key ring {settings.KEYRING_FILE} decrypts none of the "
                "secrets that name it. Put back the key ring that belongs to this database, or the "
                f"database that belongs to this key ring; nothing was changed. {_IF_LOST}"
            )


def _decrypts_any(ring: KeyRing, key_id: str) -> bool:
    ring.cipher(key_id)
    for field in ENCRYPTED_FIELDS:
        for stored in field.secrets():
            # One altered row must not stop the service. Using that row reports the error.
            if stored.key_id == key_id and ring.can_decrypt(stored):
                return True
    return False


def read_key_ring(path: Path) -> KeyRing:
    """The ring in the file at `path`. Raises KeyRingError."""
    try:
        text = Secret(read_private_text(path))
    except PrivateFileError as error:
        raise KeyRingError(f"The key ring can't be used. {error}") from None
    return parse_key_ring(text)


def update_key_ring(change: Callable[[Secret], Secret]) -> None:
    """Replace the text of the ring in KEYRING_FILE with `change(text)`, atomically.

    Raises KeyRingError and whatever `change` raises. The old ring stays then.
    """

    def change_valid_ring(text: Secret) -> Secret:
        parse_key_ring(text)
        return change(text)

    try:
        update_private_text(Path(settings.KEYRING_FILE), change_valid_ring)
    except PrivateFileError as error:
        raise KeyRingError(f"The key ring wasn't changed. {error}") from None


def parse_key_ring(text: Secret) -> KeyRing:
    """The ring in `text`. Raises KeyRingError."""
    ring = _parse(text)
    if isinstance(ring, str):
        raise KeyRingError(
            f"The key ring {settings.KEYRING_FILE} {ring}. Put it back from its backup."
        )
    return ring


def new_key_ring_text() -> Secret:
    """The text of a new ring with one key."""
    return with_new_primary(Secret(json.dumps({"format": FORMAT, "keys": {}})))


def with_new_primary(text: Secret) -> Secret:
    """The text of the ring with its staged key, or a new key, as the primary key."""
    staged = with_staged_key(text)
    document = json.loads(staged.reveal())
    document["primary"] = document.pop("staged")
    return _as_text(document)


def with_staged_key(text: Secret) -> Secret:
    """The text of the ring with a staged key. Keeps one that is already staged."""
    document = json.loads(text.reveal())
    if "staged" not in document:
        key = secrets.token_bytes(KEY_LENGTH)
        document["staged"] = _key_id_of(key)
        document["keys"][document["staged"]] = {
            "key": base64.b64encode(key).decode(),
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
    return _as_text(document)


def without_keys(text: Secret, key_ids: Set[str]) -> Secret:
    """The text of the ring without the keys with these IDs, which must not include the primary."""
    document = json.loads(text.reveal())
    document["keys"] = {
        key_id: entry for key_id, entry in document["keys"].items() if key_id not in key_ids
    }
    return _as_text(document)


def _as_text(document: dict[str, Any]) -> Secret:
    return Secret(json.dumps(document, indent=2) + "\n")


def _parse(text: Secret) -> KeyRing | str:
    """The ring, or what is wrong with it.

    Returns the problem instead of raising it, so that no traceback keeps this frame, which holds
    keys, alive.
    """
    try:
        document = json.loads(text.reveal())
        entries = document["keys"].items()
        file_format, primary_id = document["format"], str(document["primary"])
        staged_id = str(document["staged"]) if "staged" in document else None
        keys = {key_id: base64.b64decode(entry["key"], validate=True) for key_id, entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return "isn't a complete key ring document"
    if file_format != FORMAT:
        return f"isn't of the form {FORMAT!r}"
    for key_id, key in keys.items():
        if len(key) != KEY_LENGTH or _key_id_of(key) != key_id:
            return f"contains a key {key_id} that was altered"
    for needed_id in filter(None, (primary_id, staged_id)):
        if needed_id not in keys:
            return f"lacks its key {needed_id}"
    ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
    return KeyRing(ciphers=ciphers, primary_id=primary_id, staged_id=staged_id)


def _key_id_of(key: bytes) -> str:
    return hmac.digest(key, b"orgadmin key id", "sha256").hex()[:KEY_ID_LENGTH]


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyRingError(f"Can't read the key ring {path} ({error.strerror}).") from None
    # Includes ctime, because `chmod` alone can make a valid file unacceptable.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
