"""The configured destinations of notifications. To add one, see docs/ARCHITECTURE.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings
from django.utils.crypto import salted_hmac

from connections.core.urls import origin_of
from connections.models import Notification

Channel = Notification.Channel


class Contents(StrEnum):
    """What a destination receives, as people read it."""

    EVENTS = (
        "Approval requests, outcomes, policy and role changes, connection changes that need "
        "attention, and alerts, each to the people involved"
    )
    EVERYTHING = "All of these, and every checkpoint"
    CHECKPOINTS = "Every checkpoint of the audit log"
    NEEDS_PEOPLE = "What someone has to decide, check or repair"


@dataclass(frozen=True)
class Destination:
    """Where notifications of events, or checkpoints, are sent. `address` shows no secret."""

    channel: Channel
    label: str
    address: str
    purpose: Contents
    # The key of a checkpoint recipient's email address; "" for other destinations.
    address_key: str = ""

    @property
    def key(self) -> str:
        """The name of this destination in forms."""
        return f"{self.channel}:{self.address_key}"

    @property
    def takes_events(self) -> bool:
        """Whether it receives notifications of events."""
        return self.purpose != Contents.CHECKPOINTS


def list_destinations() -> Iterator[Destination]:
    """Every configured destination."""
    if settings.HAS_MAIL:
        sender = f"From {settings.DEFAULT_FROM_EMAIL}"
        yield Destination(Channel.MAIL, "Email to people", sender, Contents.EVENTS)
        label = "Email to a checkpoint recipient"
        for key, address in checkpoint_addresses().items():
            yield Destination(Channel.MAIL, label, address, Contents.CHECKPOINTS, address_key=key)
    if settings.WEBHOOK_URL:
        origin = origin_of(settings.WEBHOOK_URL)
        yield Destination(Channel.WEBHOOK, "Webhook", origin, Contents.EVERYTHING)
    if settings.SLACK_URL:
        yield Destination(
            Channel.SLACK, "Slack", origin_of(settings.SLACK_URL), Contents.NEEDS_PEOPLE
        )
    if settings.CHECKPOINT_FILE:
        path = settings.CHECKPOINT_FILE
        yield Destination(Channel.FILE, "Checkpoint file", path, Contents.CHECKPOINTS)


def list_event_channels() -> list[Channel]:
    """The channels that notifications of events are sent on. Empty if none is configured."""
    return [destination.channel for destination in list_destinations() if destination.takes_events]


def list_checkpoint_recipients() -> list[Destination]:
    """The destinations of checkpoints."""
    contents = (Contents.EVERYTHING, Contents.CHECKPOINTS)
    return [destination for destination in list_destinations() if destination.purpose in contents]


def checkpoint_addresses() -> dict[str, str]:
    """The configured email addresses of checkpoint recipients, by their keys."""
    return {_address_key(address): address for address in settings.CHECKPOINT_EMAILS}


def _address_key(address: str) -> str:
    """The key of a checkpoint recipient's email address. Rows hold it instead of the address."""
    salt = "connections.notices.address"
    return salted_hmac(salt, address.strip().lower(), algorithm="sha256").hexdigest()[:16]
