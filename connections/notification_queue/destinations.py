"""The configured destinations of notifications. To add one, see docs/ARCHITECTURE.md."""

from dataclasses import dataclass

from django.conf import settings
from django.utils.crypto import salted_hmac

from connections.core.urls import origin_of
from connections.models import Notification

Channel = Notification.Channel

_PEOPLE_PURPOSE = (
    "Approval requests, outcomes, policy and role changes, connection changes that need attention, "
    "and alerts, each to the people involved"
)
_WEBHOOK_PURPOSE = "All of these, and every checkpoint"
_CHECKPOINT_PURPOSE = "Every checkpoint of the audit log"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where notifications of events, or checkpoints, are sent. `address` shows no secret."""

    channel: Channel
    # The key of a checkpoint recipient's email address; "" for other destinations.
    address_key: str = ""
    label: str
    address: str
    purpose: str
    takes_events: bool = False
    takes_checkpoints: bool = True

    @property
    def key(self) -> str:
        """The name of this destination in forms."""
        return f"{self.channel}:{self.address_key}"


def list_destinations() -> list[Destination]:
    """Every configured destination."""
    destinations = []
    if settings.HAS_MAIL:
        destinations.append(
            Destination(
                channel=Channel.MAIL,
                label="Email to people",
                address=f"From {settings.DEFAULT_FROM_EMAIL}",
                purpose=_PEOPLE_PURPOSE,
                takes_events=True,
                takes_checkpoints=False,
            )
        )
        destinations += [
            Destination(
                channel=Channel.MAIL,
                address_key=key,
                label="Email to a checkpoint recipient",
                address=address,
                purpose=_CHECKPOINT_PURPOSE,
            )
            for key, address in checkpoint_addresses().items()
        ]
    if settings.WEBHOOK_URL:
        destinations.append(
            Destination(
                channel=Channel.WEBHOOK,
                label="Webhook",
                address=origin_of(settings.WEBHOOK_URL),
                purpose=_WEBHOOK_PURPOSE,
                takes_events=True,
            )
        )
    if settings.CHECKPOINT_FILE:
        destinations.append(
            Destination(
                channel=Channel.FILE,
                label="Checkpoint file",
                address=settings.CHECKPOINT_FILE,
                purpose=_CHECKPOINT_PURPOSE,
            )
        )
    return destinations


def list_event_channels() -> list[Channel]:
    """The channels that notifications of events are sent on. Empty if none is configured."""
    return [destination.channel for destination in list_destinations() if destination.takes_events]


def list_checkpoint_recipients() -> list[Destination]:
    """The destinations of checkpoints."""
    return [destination for destination in list_destinations() if destination.takes_checkpoints]


def checkpoint_addresses() -> dict[str, str]:
    """The configured email addresses of checkpoint recipients, by their keys."""
    return {_address_key(address): address for address in settings.CHECKPOINT_EMAILS}


def _address_key(address: str) -> str:
    """The key of a checkpoint recipient's email address. Rows hold it instead of the address."""
    salt = "connections.notices.address"
    return salted_hmac(salt, address.strip().lower(), algorithm="sha256").hexdigest()[:16]
