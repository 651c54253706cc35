"""Signed checkpoints of the record: when one is due, and making it.

Making one costs one signature and one row, whatever the size: the head keeps the tree's frontier.
"""

import base64
import logging
from datetime import datetime, timedelta

from django.db import transaction

from connections import chain, clock, policies
from connections.actors import Actor
from connections.models import AuditEvent, AuditHead, Checkpoint
from connections.secret import Secret
from connections.services import audit, notices
from connections.signed_notes import sign
from connections.signing_key import (
    SigningKey,
    SigningKeyError,
    load_signing_key,
    rotation_statement,
    signing_key_of,
    update_signing_key,
    with_new_key,
)

logger = logging.getLogger(__name__)

EVERY_EVENTS = 1000
EVERY = timedelta(hours=1)
# Each of these says that a deletion has come to its end.
_SETTLING = (
    audit.Code.DELETION_SETTLED,
    audit.Code.DELETION_WITHDRAWN,
    audit.Code.DELETION_DECLINED,
)


def latest() -> Checkpoint | None:
    """The newest checkpoint, if there is any."""
    return Checkpoint.objects.order_by("-size", "-id").first()


def make_checkpoint() -> Checkpoint | None:
    """Sign the record as it is now; the one there is when it stands at this size already.

    None while nothing is recorded. Raises SigningKeyError, and what the database raises.
    """
    key = load_signing_key()
    with transaction.atomic():
        # Held, so that of two processes one makes it; what follows takes less than 1 ms.
        head = AuditHead.objects.select_for_update().get()
        if head.size == 0:
            return None
        return store(checkpoint=of_head(head=head, key=key))


def of_head(*, head: AuditHead, key: SigningKey) -> Checkpoint:
    """The checkpoint of the record as this head row says it is; not stored."""
    root = chain.root_of(chain.frontier_of(head.frontier))
    return Checkpoint(
        size=head.size,
        root=root.hex(),
        fingerprint=key.fingerprint,
        note=sign(origin=head.origin, size=head.size, root=root, key=key),
        made_at=clock.now(),
    )


def store(*, checkpoint: Checkpoint) -> Checkpoint:
    """Keep a checkpoint; gives the one there is when this key signed this size before."""
    same = Checkpoint.objects.filter(size=checkpoint.size, fingerprint=checkpoint.fingerprint)
    made = same.first()
    if made is None:
        with transaction.atomic():
            checkpoint.save(force_insert=True)
            notices.announce_checkpoint(checkpoint=checkpoint)
    return made or checkpoint


def rotate_signing_key(*, actor: Actor) -> SigningKey:
    """Put a new key in the place of the one that signs; an event signed with both says so.

    A checkpoint with the old key stands before the event, and one with the new key after it.
    Raises PermissionDenied and SigningKeyError; the old key stands then.
    """
    policies.require(policies.can_administer(actor), "rotate the signing key")
    old = load_signing_key()
    make_checkpoint()

    def change(text: Secret) -> Secret:
        changed = with_new_key(text)
        # Before the file is replaced, and undone with the transaction when that fails.
        _record_rotation(old=signing_key_of(text), new=signing_key_of(changed), actor=actor)
        return changed

    with audit.act():
        update_signing_key(change)
    logger.info("The signing key %s was replaced.", old.fingerprint)
    make_checkpoint()
    return load_signing_key()


def _record_rotation(*, old: SigningKey, new: SigningKey, actor: Actor) -> None:
    # Held, so that the size in the statement is the one that the event follows.
    head = AuditHead.objects.select_for_update().get()
    statement = rotation_statement(
        origin=head.origin, size=head.size, previous=old.public_key, new=new.public_key
    )
    audit.record(
        code=audit.Code.SIGNING_KEY_ROTATED,
        actor=actor,
        sentence=f"Signing key {new.fingerprint[:16]} took the place of {old.fingerprint[:16]}.",
        details={
            "origin": head.origin,
            "size": head.size,
            "previous_public_key": base64.b64encode(old.public_key).decode(),
            "public_key": base64.b64encode(new.public_key).decode(),
            "signature_by_previous": base64.b64encode(old.sign(statement)).decode(),
            "signature_by_new": base64.b64encode(new.sign(statement)).decode(),
        },
    )


def is_due(*, now: datetime) -> bool:
    """Whether enough happened since the newest checkpoint, or anything an hour ago."""
    size = AuditHead.objects.values_list("size", flat=True).get()
    newest = latest()
    if newest is None or size <= newest.size:
        return size > 0 and newest is None
    if size - newest.size >= EVERY_EVENTS or now - newest.made_at >= EVERY:
        return True
    return AuditEvent.objects.filter(seq__gt=newest.size, code__in=_SETTLING).exists()


def make_if_due() -> Checkpoint | None:
    """Make a checkpoint when one is due. Without a usable key it warns and makes none.

    Raises what the database raises.
    """
    if not is_due(now=clock.now()):
        return None
    try:
        return make_checkpoint()
    except SigningKeyError as error:
        logger.warning("No checkpoint was made. %s", error)
        return None
