"""Signs checkpoints of the audit log, with a key in a file of its own.

A checkpoint is one signature and one row, whatever the log's size. docs/EVIDENCE.md defines it and
the key's file. That file is separate from the key ring, because the key ring decrypts stored
credentials and this key signs audit logs. When this installation verifies its own log, it trusts
the public keys in this file: the newest one and all earlier ones.
"""

import base64
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings
from django.db import transaction

from connections.audit import chain
from connections.core.private_files import (
    PrivateFileError,
    create_private_text_once,
    read_private_text,
    update_private_text,
)
from connections.core.secret import Secret
from connections.models import AuditEvent, AuditHead, Checkpoint, EventCode
from connections.notification_queue import outbox
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import fingerprint_of, key_id
from connections.verifier.strict_json import decode_base64

logger = logging.getLogger(__name__)

EVENTS_PER_CHECKPOINT = 1000
FORMAT = "orgadmin signing key 1"


class SigningKeyError(Exception):
    """The signing key is missing, damaged or readable by others. The message never contains it."""


class SigningKey:
    """The current key, and the public keys before it, oldest first.

    `next_key` stays staged in the file until the event of its rotation is committed.
    """

    __slots__ = ("_private_key", "next_key", "previous_public_keys", "public_key")

    def __init__(
        self,
        *,
        private_key: Ed25519PrivateKey,
        previous_public_keys: tuple[bytes, ...],
        next_private_key: Ed25519PrivateKey | None = None,
    ) -> None:
        self._private_key = private_key
        self.public_key = _public_bytes(private_key)
        self.previous_public_keys = previous_public_keys
        self.next_key: SigningKey | None = None
        if next_private_key is not None:
            self.next_key = SigningKey(
                private_key=next_private_key,
                previous_public_keys=(*previous_public_keys, self.public_key),
            )

    @property
    def public_keys(self) -> tuple[bytes, ...]:
        """Every public key that this installation has signed with, oldest first."""
        return (*self.previous_public_keys, self.public_key)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, in hex."""
        return fingerprint_of(self.public_key)

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self._private_key.sign(data)

    def __repr__(self) -> str:
        return f"SigningKey(fingerprint={self.fingerprint!r})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("A SigningKey cannot be serialized.")


def is_signed(public_key: bytes, message: bytes, signature: bytes, /) -> bool:
    """Like the function with this name in the verifier, but about thirty times as fast."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_signing_key() -> SigningKey:
    """The key in use. Creates one if there is none and none was ever used.

    It creates one only with SQLite, which no other machine shares, and only while there is no
    checkpoint, because a new key would hide that the old one is missing. It finishes a rotation
    whose event was committed before the file was updated. Raises SigningKeyError, also when the
    audit log names a newer key than the file.
    """
    path = Path(settings.SIGNING_KEY_FILE)
    if not path.exists():
        require_creation_allowed(path)
        try:
            create_private_text_once(path, lambda: new_signing_key_text().reveal())
        except PrivateFileError as error:
            raise SigningKeyError(str(error)) from None
    key = read_signing_key(path)
    recorded = _newest_rotation_key() or key.public_keys[0]
    if key.next_key is not None and key.next_key.public_key == recorded:
        _update(lambda text: _with_next_in_place(text, public_key=recorded))
        key = read_signing_key(path)
    if key.public_key != recorded:
        raise SigningKeyError(
            f"The audit log is signed with key {fingerprint_of(recorded)}, but {path} "
            f"contains {key.fingerprint}. Put the newest file there or, after a restore, the one "
            "that belongs to the restored database."
        )
    return key


def _newest_rotation_key() -> bytes | None:
    """The public key of the newest rotation, or None."""
    rotations = AuditEvent.objects.filter(code=EventCode.SIGNING_KEY_ROTATED).order_by("-seq")
    newest = rotations.first()
    try:
        recorded = newest.details["public_key"] if newest else None
        return decode_base64(recorded, 32, "The key") if newest else None
    except (KeyError, TypeError, ValueError, VerificationFailed):
        raise SigningKeyError(
            f"Event {newest} doesn't say which key signs. Run: ./run manage verify_audit"
        ) from None


def stage_signing_key() -> SigningKey:
    """Create a key, stage it in the file and return it. Its rotation event will activate it.

    Call it while the chain's head is locked. Raises SigningKeyError; the old key then stays in use.
    """
    _update(_with_next_key)
    staged = read_signing_key(Path(settings.SIGNING_KEY_FILE)).next_key
    if staged is None:
        raise SigningKeyError("The signing key wasn't changed: its file changed in the meantime.")
    return staged


def require_creation_allowed(path: Path) -> None:
    """Raise SigningKeyError, with what to do, unless a key can be created automatically."""
    # In this order, because another process might be creating both.
    if Checkpoint.objects.exists() and not path.exists():
        raise SigningKeyError(
            f"There is no signing key at {path}, and this audit log has checkpoints. Put the file "
            "back from its backup; nothing was changed."
        )
    if not settings.DATABASE_IS_SQLITE:
        raise SigningKeyError(
            f"There is no signing key at {path}. With PostgreSQL, none is created automatically, "
            "because every process must share one: run `./run manage make_keys --output DIR` once "
            "and set ORGADMIN_SIGNING_KEY_FILE to its signing_key.json."
        )


def read_signing_key(path: Path) -> SigningKey:
    """The key in the file at `path`. Raises SigningKeyError."""
    try:
        text = Secret(read_private_text(path))
    except PrivateFileError as error:
        raise SigningKeyError(f"The signing key can't be used. {error}") from None
    return parse_signing_key(text)


def parse_signing_key(text: Secret) -> SigningKey:
    """The key in `text`. Raises SigningKeyError."""
    key = _parse(text)
    if isinstance(key, str):
        raise SigningKeyError(
            f"The signing key {settings.SIGNING_KEY_FILE} {key}. Put it back from its backup."
        )
    return key


def _update(change: Callable[[Secret], Secret]) -> None:
    """Replace the content of SIGNING_KEY_FILE with `change(text)`, atomically."""
    try:
        update_private_text(Path(settings.SIGNING_KEY_FILE), change)
    except PrivateFileError as error:
        raise SigningKeyError(f"The signing key wasn't changed. {error}") from None


def new_signing_key_text() -> Secret:
    """The content of a key file with one new key."""
    return _as_text({"format": FORMAT, **_new_key_pair(), "previous": []})


def _with_next_key(text: Secret) -> Secret:
    return _as_text(json.loads(text.reveal()) | {"next": _new_key_pair()})


def _with_next_in_place(text: Secret, *, public_key: bytes) -> Secret:
    """The text with the staged key activated. Unchanged if another process already did it."""
    document = json.loads(text.reveal())
    staged = document.pop("next", None)
    if staged is None or base64.b64decode(staged["public_key"]) != public_key:
        return text
    replaced = {"public_key": document["public_key"], "replaced_at": _now()}
    return _as_text(document | staged | {"previous": [*document["previous"], replaced]})


def _new_key_pair() -> dict[str, str]:
    private_key = Ed25519PrivateKey.generate()
    return {
        "key": base64.b64encode(private_key.private_bytes_raw()).decode(),
        "public_key": base64.b64encode(_public_bytes(private_key)).decode(),
        "created_at": _now(),
    }


def _as_text(document: dict[str, Any]) -> Secret:
    return Secret(json.dumps(document, indent=2) + "\n")


def _parse(text: Secret) -> SigningKey | str:
    """The key, or what is wrong with it.

    Returns the problem instead of raising it, so that no traceback keeps a frame of this function
    alive.
    """
    try:
        document: dict[str, Any] = json.loads(text.reveal())
        file_format = document["format"]
        pairs = [pair for pair in (document, document.get("next")) if pair is not None]
        seeds = [decode_base64(pair["key"], 32, "A key") for pair in pairs]
        public_keys = [
            decode_base64(pair["public_key"], 32, "A public key")
            for pair in (*pairs, *document["previous"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, VerificationFailed):
        return "isn't a complete signing key document"
    if file_format != FORMAT:
        return f"isn't of the form {FORMAT!r}"
    private_keys = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
    if [_public_bytes(key) for key in private_keys] != public_keys[: len(pairs)]:
        return "contains a key that was altered"
    return SigningKey(
        private_key=private_keys[0],
        previous_public_keys=tuple(public_keys[len(pairs) :]),
        next_private_key=private_keys[1] if len(private_keys) > 1 else None,
    )


def _public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def reaches_checkpoint_size(size: int, *, added: int) -> bool:
    """Whether the last `added` events reached a multiple of EVENTS_PER_CHECKPOINT."""
    return size // EVENTS_PER_CHECKPOINT > (size - added) // EVENTS_PER_CHECKPOINT


def build_checkpoint(*, head: AuditHead, key: SigningKey, at: datetime) -> Checkpoint:
    """The checkpoint of the log with this head, not stored.

    `key` must be the key in use at that size.
    """
    root = chain.root_of(chain.parse_frontier(head.frontier))
    return Checkpoint(
        size=head.size,
        root=root.hex(),
        fingerprint=key.fingerprint,
        note=sign_checkpoint(origin=head.origin, size=head.size, root=root, key=key),
        made_at=at,
    )


def sign_checkpoint(*, origin: str, size: int, root: bytes, key: SigningKey) -> str:
    """The text of a checkpoint signed with this key: docs/EVIDENCE.md defines it."""
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    return f"{body}\n{signature_line(origin=origin, body=body.encode(), key=key)}"


def signature_line(*, origin: str, body: bytes, key: SigningKey) -> str:
    """The signature line for a body (which ends with a line feed), under the log's name."""
    signature = key_id(origin, key.public_key) + key.sign(body)
    return f"\u2014 {origin} {base64.b64encode(signature).decode()}\n"


def store_checkpoint(*, checkpoint: Checkpoint) -> Checkpoint:
    """Store a checkpoint. Return the existing one if this key has already signed this size."""
    same = Checkpoint.objects.filter(size=checkpoint.size, fingerprint=checkpoint.fingerprint)
    existing = same.first()
    if existing is None:
        with transaction.atomic():
            _insert(checkpoint)
    return existing or checkpoint


def _insert(checkpoint: Checkpoint) -> None:
    checkpoint.save(force_insert=True)
    outbox.enqueue_checkpoint(checkpoint=checkpoint)


def sign_head(head: AuditHead, *, at: datetime) -> Checkpoint:
    """A stored checkpoint of the log with this head; the existing one if there is one.

    Call it while the head is locked and not empty, because rotations replace the key under the same
    lock. Raises SigningKeyError and database errors.
    """
    return store_checkpoint(checkpoint=build_checkpoint(head=head, key=load_signing_key(), at=at))


def sign_new_head(head: AuditHead, *, at: datetime) -> None:
    """Sign a head that was just extended and therefore has no checkpoint yet.

    Without a key that can sign, it logs a warning instead, and the surrounding transaction still
    commits. Raises database errors.
    """
    try:
        key = load_signing_key()
    except SigningKeyError as error:
        logger.warning("No checkpoint was made. %s", error)
    else:
        _insert(build_checkpoint(head=head, key=key, at=at))
