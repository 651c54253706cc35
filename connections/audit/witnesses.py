"""Who keeps checkpoints outside, and the newest that each of them is known to have."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from connections.audit import outbox
from connections.models import Checkpoint, Notification
from connections.net.urls import origin_of

Channel = Notification.Channel


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipient:
    """One destination of checkpoints that is set; `size` is of the newest one it took."""

    where: str
    size: int | None
    delivered_at: datetime | None


def checkpoint_recipients() -> list[CheckpointRecipient]:
    """Every witness that is set. What they took longer ago than the log is kept is not known."""
    return [_witness(channel, key) for channel, key in outbox.checkpoint_recipients()]


def _witness(channel: Channel, key: str) -> CheckpointRecipient:
    taken = Notification.objects.filter(
        channel=channel,
        address_key=key,
        state=Notification.State.DELIVERED,
        subject_type="checkpoint",
    )
    newest = taken.order_by("-created_at", "-id").first()
    kept = Checkpoint.objects.filter(pk=newest.subject_id).first() if newest else None
    return CheckpointRecipient(
        where=_where(channel, key),
        size=kept.size if kept else None,
        delivered_at=newest.answered_at if newest else None,
    )


def _where(channel: Channel, key: str) -> str:
    match channel:
        case Channel.MAIL:
            keys = {outbox.address_key(each): each for each in settings.CHECKPOINT_EMAILS}
            return f"Mail to {keys[key]}"
        case Channel.WEBHOOK:
            return f"Webhook at {origin_of(settings.WEBHOOK_URL)}"
        case Channel.FILE:
            return f"File {settings.CHECKPOINT_FILE}"
