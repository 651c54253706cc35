"""Makes checkpoints when due, rotates the signing key, and lists the checkpoint recipients."""

import base64
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import events
from connections.audit.personal_data import Sentence
from connections.audit.signing import (
    EVENTS_PER_CHECKPOINT,
    SigningKey,
    SigningKeyError,
    load_signing_key,
    sign_head,
    stage_signing_key,
)
from connections.core import clock
from connections.models import AuditEvent, AuditHead, Checkpoint, EventCode, Notification
from connections.notification_queue import destinations
from connections.notification_queue.destinations import Destination
from connections.verifier.notes import rotation_statement

logger = logging.getLogger(__name__)

CHECKPOINT_INTERVAL = timedelta(hours=1)


def latest_checkpoint() -> Checkpoint | None:
    """The newest checkpoint, or None.

    Every export contains it, so each copy of an export also proves the state of the log.
    """
    return Checkpoint.objects.order_by("-size", "-id").first()


def make_checkpoint() -> Checkpoint | None:
    """Sign the audit log as it is now; return the existing checkpoint if there is one.

    Returns None while the log is empty. Raises SigningKeyError and database errors.
    """
    with transaction.atomic():
        # Locked so that two processes never make the same one. Held for less than 1 ms.
        head = AuditHead.objects.select_for_update().get()
        return sign_head(head, at=clock.now()) if head.size else None


def rotate_signing_key(*, actor: Actor) -> SigningKey:
    """Replace the signing key; an event signed with both keys records it. Return the new key.

    Makes a checkpoint with the old key before the event and one with the new key after it. The new
    key takes effect when the event is committed; until then it is staged in the key file. Raises
    PermissionDenied and SigningKeyError; the old key then stays in use.
    """
    permissions.require(permissions.can_administer(actor), "rotate the signing key")
    make_checkpoint()
    with events.atomic():
        # Locked so that the event directly follows the size in the statement, and so that no other
        # process signs a checkpoint with the old key in the meantime.
        head = AuditHead.objects.select_for_update().get()
        old = load_signing_key()
        new = stage_signing_key()
        _record_rotation(old=old, new=new, head=head, actor=actor)
    logger.info("The signing key %s was replaced.", old.fingerprint)
    make_checkpoint()
    return load_signing_key()


def _record_rotation(*, old: SigningKey, new: SigningKey, head: AuditHead, actor: Actor) -> None:
    statement = rotation_statement(head.origin, head.size, old.public_key, new.public_key)
    events.record(
        code=EventCode.SIGNING_KEY_ROTATED,
        actor=actor,
        sentence=Sentence(
            "Signing key {new} replaced {old}.",
            new=new.fingerprint[:16],
            old=old.fingerprint[:16],
        ),
        details={
            "origin": head.origin,
            "size": head.size,
            "previous_public_key": base64.b64encode(old.public_key).decode(),
            "public_key": base64.b64encode(new.public_key).decode(),
            "signature_by_previous": base64.b64encode(old.sign(statement)).decode(),
            "signature_by_new": base64.b64encode(new.sign(statement)).decode(),
        },
    )


def is_checkpoint_due(*, now: datetime) -> bool:
    """Whether a checkpoint is due: by number of events, by time, or because signing one failed."""
    size = AuditHead.objects.values_list("size", flat=True).get()
    newest = latest_checkpoint()
    if newest is None or size <= newest.size:
        return newest is None
    if size - newest.size >= EVENTS_PER_CHECKPOINT or _is_old(newest, now=now):
        return True
    # An event since then should have had a checkpoint, but signing it failed.
    return AuditEvent.objects.filter(seq__gt=newest.size, code__in=events.SETTLING_CODES).exists()


def _is_old(checkpoint: Checkpoint, *, now: datetime) -> bool:
    return clock.elapsed_since(checkpoint.made_at, now=now) >= CHECKPOINT_INTERVAL


def make_checkpoint_if_due() -> Checkpoint | None:
    """Make a checkpoint when one is due. Without a usable key, log a warning instead.

    Raises database errors.
    """
    if not is_checkpoint_due(now=clock.now()):
        return None
    try:
        return make_checkpoint()
    except SigningKeyError as error:
        logger.warning("No checkpoint was made. %s", error)
        return None


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipient:
    """One configured recipient. `size` is the size of the newest checkpoint delivered to it."""

    address: str
    size: int | None
    delivered_at: datetime | None


def list_checkpoint_recipients() -> list[CheckpointRecipient]:
    """Every configured recipient.

    Deliveries that were removed from the delivery log don't count.
    """
    return [_recipient(destination) for destination in destinations.list_checkpoint_recipients()]


def _recipient(destination: Destination) -> CheckpointRecipient:
    delivered = Notification.objects.filter(
        channel=destination.channel,
        address_key=destination.address_key,
        state=Notification.State.DELIVERED,
        subject_type="checkpoint",
    )
    newest = delivered.order_by("-created_at", "-id").first()
    kept = Checkpoint.objects.filter(pk=newest.subject_id).first() if newest else None
    return CheckpointRecipient(
        address=f"{destination.channel.label}: {destination.address}",
        size=kept.size if kept else None,
        delivered_at=newest.answered_at if newest else None,
    )
