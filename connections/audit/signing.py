"""Signing the record as it is now: one signature and one row, whatever the size."""

import logging
from datetime import datetime

from django.db import Error as DatabaseError
from django.db import transaction

from connections.audit import chain, outbox
from connections.audit.signed_notes import sign_checkpoint
from connections.audit.signing_key import (
    SigningKey,
    SigningKeyError,
    load_signing_key,
)
from connections.models import AuditHead, Checkpoint

logger = logging.getLogger(__name__)

EVENTS_PER_CHECKPOINT = 1000


def reaches_checkpoint_size(size: int, *, added: int) -> bool:
    """Whether the newest `added` events brought the record to or over a multiple of 1,000."""
    return size // EVENTS_PER_CHECKPOINT > (size - added) // EVENTS_PER_CHECKPOINT


def sign_head(head: AuditHead, *, at: datetime) -> Checkpoint:
    """A checkpoint of the record that ends here; the one there is when it was made already.

    Call it while the head is locked and not empty: the key that is in force is read under that
    lock, under which it is also replaced. Raises SigningKeyError and what the database raises.
    """
    return store_checkpoint(checkpoint=build_checkpoint(head=head, key=load_signing_key(), at=at))


def build_checkpoint(*, head: AuditHead, key: SigningKey, at: datetime) -> Checkpoint:
    """The checkpoint of the record as this head row says it is; not stored.

    `key` is the one that was in force at that size.
    """
    root = chain.root_of(chain.parse_frontier(head.frontier))
    return Checkpoint(
        size=head.size,
        root=root.hex(),
        fingerprint=key.fingerprint,
        note=sign_checkpoint(origin=head.origin, size=head.size, root=root, key=key),
        made_at=at,
    )


def store_checkpoint(*, checkpoint: Checkpoint) -> Checkpoint:
    """Keep a checkpoint; gives the one there is when this key signed this size before."""
    same = Checkpoint.objects.filter(size=checkpoint.size, fingerprint=checkpoint.fingerprint)
    made = same.first()
    if made is None:
        with transaction.atomic():
            checkpoint.save(force_insert=True)
            outbox.enqueue_checkpoint(checkpoint=checkpoint)
    return made or checkpoint


def sign_if_possible(head: AuditHead, *, at: datetime) -> Checkpoint | None:
    """As `sign_head`, and None with a warning when it cannot be: what was done stands all the same.

    Call it within a transaction.
    """
    try:
        with transaction.atomic():
            return sign_head(head, at=at)
    except (SigningKeyError, DatabaseError) as error:
        logger.warning("No checkpoint was made. %s", error)
        return None
