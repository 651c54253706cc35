"""Signs the audit log's current state: one signature and one row, whatever the log's size."""

import base64
import logging
from datetime import datetime

from django.db import transaction

from connections.audit import chain, outbox
from connections.audit.signing_key import SigningKey, SigningKeyError, load_signing_key
from connections.models import AuditHead, Checkpoint
from connections.verifier import verify

logger = logging.getLogger(__name__)

EVENTS_PER_CHECKPOINT = 1000


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
    signature = verify.key_id(origin, key.public_key) + key.sign(body)
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
