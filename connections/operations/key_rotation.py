"""Rotates the encryption keys of secrets in the database while the service runs."""

from dataclasses import dataclass

from connections import audit
from connections.access.actor import Actor
from connections.access.permissions import can_administer, require
from connections.core.secret import Secret
from connections.crypto import encryption
from connections.crypto.encrypted_fields import ENCRYPTED_FIELDS, EncryptedField, key_ids_in_use

# Enough for writers that had already read a row. Each pass processes only what remains.
_MAX_PASSES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRotation:
    """What a rotation did. `left` says which secrets the primary key doesn't encrypt, and why."""

    previous_key_id: str
    primary_key_id: str
    reencrypted: int
    dropped_key_ids: tuple[str, ...]
    other_key_ids: tuple[str, ...]
    left: tuple[str, ...]


def rotate_encryption_key(
    *, actor: Actor, make_key: bool = True, drop_unused: bool = False
) -> KeyRotation:
    """Make a new key primary (the staged one, if any), and encrypt every secret with it.

    The service can keep running: a row is replaced only if it is unchanged since it was read, and
    other processes reload the ring when its file changes. Without `make_key` the primary key stays,
    which completes an interrupted rotation.

    With `drop_unused`, keys that no stored secret needs are removed, except the key that was
    primary at the start, because a process might be about to store a secret encrypted with it. The
    next rotation, or one without `make_key`, removes that key.

    Raises PermissionDenied, and KeyRingError; no stored secret is lost then.
    """
    require(can_administer(actor), "rotate the encryption key")
    previous_id = encryption.load_key_ring().primary_id
    if make_key:
        _add_primary_key(actor=actor, previous_id=previous_id)
    reencrypted, left = _encrypt_all_with_primary_key()
    dropped = _drop_unused_keys(actor=actor, keep_id=previous_id) if drop_unused else ()
    ring = encryption.load_key_ring()
    return KeyRotation(
        previous_key_id=previous_id,
        primary_key_id=ring.primary_id,
        reencrypted=reencrypted,
        dropped_key_ids=dropped,
        other_key_ids=tuple(sorted(ring.key_ids - {ring.primary_id})),
        left=left,
    )


def stage_encryption_key(*, actor: Actor) -> str:
    """Add a key to the ring that nothing uses until the next rotation. Return its ID.

    If each machine has a copy of the ring, every copy can be replaced in between, so that no
    machine gets a secret that it can't decrypt. A key that is already staged stays.

    Raises PermissionDenied and KeyRingError.
    """
    require(can_administer(actor), "rotate the encryption key")

    def change(text: Secret) -> Secret:
        changed = encryption.with_staged_key(text)
        key_id = encryption.parse_key_ring(changed).staged_id
        audit.record(
            code=audit.EventCode.ENCRYPTION_KEY_STAGED,
            actor=actor,
            sentence=audit.Sentence(
                "Encryption key {key} was staged for the next rotation.",
                key=str(key_id),
            ),
            details={"key_id": key_id},
        )
        return changed

    with audit.atomic():
        staged_id = encryption.load_key_ring().staged_id
        if staged_id is None:
            encryption.update_key_ring(change)
            staged_id = encryption.load_key_ring().staged_id
    return str(staged_id)


def _add_primary_key(*, actor: Actor, previous_id: str) -> None:
    def change(text: Secret) -> Secret:
        changed = encryption.with_new_primary(text)
        key_id = encryption.parse_key_ring(changed).primary_id
        # Before the file is replaced, and rolled back with the transaction if that fails.
        audit.record(
            code=audit.EventCode.ENCRYPTION_KEY_ROTATED,
            actor=actor,
            sentence=audit.Sentence(
                "Encryption key {key} replaced {previous}.",
                key=str(key_id),
                previous=previous_id,
            ),
            details={"key_id": key_id, "previous_key_id": previous_id},
        )
        return changed

    with audit.atomic():
        encryption.update_key_ring(change)


def _encrypt_all_with_primary_key() -> tuple[int, tuple[str, ...]]:
    reencrypted = 0
    left: list[str] = []
    for _ in range(_MAX_PASSES):
        left = []
        for field in ENCRYPTED_FIELDS:
            count, problems = _encrypt_field(field)
            reencrypted += count
            left += problems
        if not left:
            break
    return reencrypted, tuple(left)


def _encrypt_field(field: EncryptedField) -> tuple[int, list[str]]:
    """How many secrets were encrypted again, and why others were not."""
    count, problems = 0, []
    primary_id = encryption.load_key_ring().primary_id
    # A list, because SQLite would keep the query open while rows are written.
    for stored in [secret for secret in field.secrets() if secret.key_id != primary_id]:
        try:
            secret = encryption.decrypt(stored.envelope, context=stored.context)
        except encryption.EncryptionError as error:
            problems.append(str(error))
            continue
        envelope = encryption.encrypt(secret, context=stored.context)
        if field.replace(stored, envelope=envelope):
            count += 1
        else:
            problems.append(f"The secret of {stored.context} changed during the rotation.")
    return count, problems


def _drop_unused_keys(*, actor: Actor, keep_id: str) -> tuple[str, ...]:
    # On SQLite this transaction also locks out other writers until the ring is replaced.
    with audit.atomic():
        ring = encryption.load_key_ring()
        needed = {ring.primary_id, ring.staged_id, keep_id} | key_ids_in_use()
        unused = tuple(sorted(ring.key_ids - needed))
        if unused:
            audit.record(
                code=audit.EventCode.ENCRYPTION_KEY_DROPPED,
                actor=actor,
                sentence=audit.Sentence(
                    "Unused encryption keys were removed: {keys}.",
                    keys=", ".join(unused),
                ),
                details={"key_ids": list(unused)},
            )
            encryption.update_key_ring(
                lambda text: encryption.without_keys(text, frozenset(unused))
            )
    return unused
