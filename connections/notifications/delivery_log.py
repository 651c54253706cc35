"""The configured destinations, the delivery log, and test messages."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import checkpoints, outbox, personal_data
from connections.core import clock
from connections.core.errors import ConflictError
from connections.models import AuditEvent, Checkpoint, Notification, with_values
from connections.net.urls import origin_of
from connections.notifications import delivery

PAGE_SIZE = 50
# The overview warns about a failed notification for this long, unless it is retried.
ALARM_FOR = timedelta(days=7)

Channel = Notification.Channel


@dataclass(frozen=True, kw_only=True)
class Destination:
    """One configured destination. `key` names it in forms; `address` shows no secret."""

    key: str
    label: str
    address: str
    purpose: str
    # Counts over the delivery log.
    waiting: int = 0
    given_up: int = 0


@dataclass(frozen=True, kw_only=True)
class DeliveryLogEntry:
    """One notification, with the event it is about if there is one."""

    notification: Notification
    event: AuditEvent | None
    # The checkpoint recipient's address; "" for others and when it is no longer configured.
    address: str


@dataclass(frozen=True, kw_only=True)
class DeliveryLogPage:
    """One page, newest first; the next page starts after the notification `older`."""

    rows: list[DeliveryLogEntry]
    older: UUID | None


def get_log_page(*, actor: Actor, state: str = "", after: UUID | None = None) -> DeliveryLogPage:
    """One page of the log. Raises PermissionDenied, and Notification.DoesNotExist for `after`."""
    permissions.require(permissions.can_administer(actor), "see notices")
    rows = Notification.objects.select_related("person").order_by("-created_at", "-id")
    if state:
        rows = rows.filter(state=state)
    if after is not None:
        last = Notification.objects.get(pk=after)
        rows = rows.filter(created_at__lte=last.created_at).filter(
            Q(created_at__lt=last.created_at) | Q(id__lt=last.pk)
        )
    found = list(rows[: PAGE_SIZE + 1])
    older = found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None
    return DeliveryLogPage(rows=_log_entries(found[:PAGE_SIZE]), older=older)


def _log_entries(rows: Iterable[Notification]) -> list[DeliveryLogEntry]:
    rows = list(rows)
    numbers = [row.event_seq for row in rows if row.event_seq is not None]
    events = {event.seq: event for event in with_values(AuditEvent.objects.filter(pk__in=numbers))}
    addresses = outbox.checkpoint_addresses()
    return [
        DeliveryLogEntry(
            notification=row,
            event=events.get(row.event_seq or 0),
            address=addresses.get(row.address_key, ""),
        )
        for row in rows
    ]


def list_destinations(*, actor: Actor) -> list[Destination]:
    """Every configured destination. Raises PermissionDenied."""
    permissions.require(permissions.can_administer(actor), "see notices")
    counts = _count_by_destination()
    return [
        Destination(
            key=f"{channel}:{key}",
            label=label,
            address=address,
            purpose=purpose,
            waiting=counts[channel, key, Notification.State.WAITING],
            given_up=counts[channel, key, Notification.State.GIVEN_UP],
        )
        for channel, key, label, address, purpose in _configured_destinations()
    ]


def _count_by_destination() -> Counter[tuple[str, str, str]]:
    rows = Notification.objects.filter(
        state__in=[Notification.State.WAITING, Notification.State.GIVEN_UP]
    ).order_by()
    grouped = rows.values_list("channel", "address_key", "state").annotate(n=Count("pk"))
    return Counter({(channel, key, state): count for channel, key, state, count in grouped})


_PEOPLE_PURPOSE = (
    "Deletions to approve and what became of them, changes of policies and rights, alarms: "
    "each to whom it concerns"
)
_WEBHOOK_PURPOSE = "Every such act, alarms, and each checkpoint"
_CHECKPOINT_PURPOSE = "Each checkpoint of the record"


def _configured_destinations() -> list[tuple[Channel, str, str, str, str]]:
    found = []
    if settings.HAS_MAIL:
        sender = f"as {settings.DEFAULT_FROM_EMAIL}"
        found.append((Channel.MAIL, "", "Mail to people", sender, _PEOPLE_PURPOSE))
        found += [
            (Channel.MAIL, outbox.address_key(each), "Mail to a witness", each, _CHECKPOINT_PURPOSE)
            for each in settings.CHECKPOINT_EMAILS
        ]
    if settings.WEBHOOK_URL:
        host = origin_of(settings.WEBHOOK_URL)
        found.append((Channel.WEBHOOK, "", "Webhook", host, _WEBHOOK_PURPOSE))
    if settings.CHECKPOINT_FILE:
        path = settings.CHECKPOINT_FILE
        found.append((Channel.FILE, "", "File of checkpoints", path, _CHECKPOINT_PURPOSE))
    return found


def send_test(*, actor: Actor, key: str) -> Notification:
    """Send a test to a destination now; return the notification with the result.

    Checkpoint recipients get the newest checkpoint again; mail to people goes to the actor
    alone. Call it outside any transaction. Raises PermissionDenied, and ConflictError when
    nothing can be sent.
    """
    permissions.require(permissions.can_administer(actor), "send a test")
    channel, _, address_key = key.partition(":")
    if key not in {destination.key for destination in list_destinations(actor=actor)}:
        raise ConflictError("This destination is not set any more.")
    is_checkpoint_recipient = channel == Channel.FILE or bool(address_key)
    person = actor.person if channel == Channel.MAIL and not is_checkpoint_recipient else None
    if person is not None and not person.email:
        raise ConflictError("You have no e-mail address here, so the test has nowhere to go.")
    checkpoint = _newest_checkpoint() if is_checkpoint_recipient else None
    with audit.atomic():
        audit.record(
            code=audit.EventCode.NOTIFICATION_TESTED,
            actor=actor,
            sentence=audit.Sentence(
                "{actor} sent a test by {channel}.",
                actor=personal_data.name_of(actor),
                channel=channel,
            ),
            details={"channel": channel},
        )
        now = clock.now()
        notification = Notification.objects.create(
            code=audit.EventCode.NOTIFICATION_TESTED,
            subject_type="checkpoint" if checkpoint else "",
            subject_id=str(checkpoint.pk) if checkpoint else "",
            channel=channel,
            person=person,
            address_key=address_key,
            created_at=now,
            # Claimed at once, so that no worker sends it too.
            due_at=now + delivery.CLAIM_TIMEOUT,
            attempts=1,
        )
    return delivery.deliver(notification=notification)


def _newest_checkpoint() -> Checkpoint:
    newest = checkpoints.latest_checkpoint() or checkpoints.make_checkpoint_if_due()
    if newest is None:
        raise ConflictError("There is no checkpoint yet, so there is nothing to keep.")
    return newest


def count_given_up(*, actor: Actor, now: datetime) -> int:
    """How many notifications failed lately; 0 for people who can't retry them."""
    if not permissions.can_administer(actor):
        return 0
    given_up = Notification.objects.filter(
        state=Notification.State.GIVEN_UP, created_at__gt=now - ALARM_FOR
    )
    return given_up.exclude(code=audit.EventCode.NOTIFICATION_TESTED).count()
