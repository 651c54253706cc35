"""Checkpoints as signed notes: C2SP signed-note and tlog-checkpoint, with Ed25519 (RFC 8032)."""

import base64
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import events, outbox
from connections.audit.signing import EVENTS_PER_CHECKPOINT, sign_head
from connections.audit.signing_key import (
    SigningKey,
    SigningKeyError,
    load_signing_key,
    rotation_statement,
    stage_signing_key,
)
from connections.core import clock
from connections.models import AuditEvent, AuditHead, Checkpoint, Notification
from connections.net.urls import origin_of

logger = logging.getLogger(__name__)


CHECKPOINT_INTERVAL = timedelta(hours=1)


def latest_checkpoint() -> Checkpoint | None:
    """The newest checkpoint, if there is any.

    Everything that leaves the server takes its note along: whoever keeps an export keeps a
    witness of the record.
    """
    return Checkpoint.objects.order_by("-size", "-id").first()


def make_checkpoint() -> Checkpoint | None:
    """Sign the record as it is now; the one there is when it stands at this size already.

    None while nothing is recorded. Raises SigningKeyError, and what the database raises.
    """
    with transaction.atomic():
        # Held, so that of two processes one makes it; what follows takes less than 1 ms.
        head = AuditHead.objects.select_for_update().get()
        return sign_head(head, at=clock.now()) if head.size else None


def rotate_signing_key(*, actor: Actor) -> SigningKey:
    """Put a new key in the place of the one that signs; an event signed with both says so.

    A checkpoint with the old key stands before the event, and one with the new key after it. The
    event decides: until it is committed the new key only waits in the file beside the old one.
    Raises PermissionDenied and SigningKeyError; the old key stands then.
    """
    permissions.require(permissions.can_administer(actor), "rotate the signing key")
    make_checkpoint()
    with events.atomic():
        # Held, so that the size in the statement is the one that the event follows, and that no
        # checkpoint is signed with a key that was replaced meanwhile.
        head = AuditHead.objects.select_for_update().get()
        old = load_signing_key()
        new = stage_signing_key()
        _record_rotation(old=old, new=new, head=head, actor=actor)
    logger.info("The signing key %s was replaced.", old.fingerprint)
    make_checkpoint()
    return load_signing_key()


def _record_rotation(*, old: SigningKey, new: SigningKey, head: AuditHead, actor: Actor) -> None:
    statement = rotation_statement(
        origin=head.origin, size=head.size, previous=old.public_key, new=new.public_key
    )
    events.record(
        code=events.EventCode.SIGNING_KEY_ROTATED,
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


def is_checkpoint_due(*, now: datetime) -> bool:
    """Whether enough happened since the newest checkpoint, or anything an hour ago."""
    size = AuditHead.objects.values_list("size", flat=True).get()
    newest = latest_checkpoint()
    if newest is None or size <= newest.size:
        return size > 0 and newest is None
    if size - newest.size >= EVENTS_PER_CHECKPOINT or _is_old(newest, now=now):
        return True
    # One that could not be signed when it was recorded.
    return AuditEvent.objects.filter(seq__gt=newest.size, code__in=events.SETTLING_CODES).exists()


def _is_old(checkpoint: Checkpoint, *, now: datetime) -> bool:
    return clock.elapsed_since(checkpoint.made_at, now=now) >= CHECKPOINT_INTERVAL


def make_checkpoint_if_due() -> Checkpoint | None:
    """Make a checkpoint when one is due. Without a usable key it warns and makes none.

    Raises what the database raises.
    """
    if not is_checkpoint_due(now=clock.now()):
        return None
    try:
        return make_checkpoint()
    except SigningKeyError as error:
        logger.warning("No checkpoint was made. %s", error)
        return None


Channel = Notification.Channel


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipient:
    """One destination of checkpoints that is set; `size` is of the newest one it took."""

    where: str
    size: int | None
    delivered_at: datetime | None


def list_checkpoint_recipients() -> list[CheckpointRecipient]:
    """Every witness that is set. What they took longer ago than the log is kept is not known."""
    return [_recipient(channel, key) for channel, key in outbox.recipient_channels()]


def _recipient(channel: Channel, key: str) -> CheckpointRecipient:
    taken = Notification.objects.filter(
        channel=channel,
        address_key=key,
        state=Notification.State.DELIVERED,
        subject_type="checkpoint",
    )
    newest = taken.order_by("-created_at", "-id").first()
    kept = Checkpoint.objects.filter(pk=newest.subject_id).first() if newest else None
    return CheckpointRecipient(
        where=_address(channel, key),
        size=kept.size if kept else None,
        delivered_at=newest.answered_at if newest else None,
    )


def _address(channel: Channel, key: str) -> str:
    match channel:
        case Channel.MAIL:
            keys = {outbox.address_key(each): each for each in settings.CHECKPOINT_EMAILS}
            return f"Mail to {keys[key]}"
        case Channel.WEBHOOK:
            return f"Webhook at {origin_of(settings.WEBHOOK_URL)}"
        case Channel.FILE:
            return f"File {settings.CHECKPOINT_FILE}"
