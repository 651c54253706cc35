"""The configured destinations, the delivery log, and test messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import checkpoints
from connections.core import clock
from connections.core.errors import ConflictError
from connections.models import AuditEvent, Checkpoint, Notification, with_values
from connections.notification_queue.destinations import (
    Channel,
    Destination,
    checkpoint_addresses,
    list_destinations,
)
from connections.notifications import delivery

PAGE_SIZE = 50
# The overview warns about a failed notification for this long, unless it is retried.
ALARM_FOR = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class DestinationCounts:
    """One configured destination, and how many notifications wait for it or failed."""

    destination: Destination
    waiting: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class DeliveryLogEntry:
    """One notification, with its event if it is about one."""

    notification: Notification
    event: AuditEvent | None
    # The checkpoint recipient's address; "" for other destinations and if it is no longer
    # configured.
    address: str


@dataclass(frozen=True, kw_only=True)
class DeliveryLogPage:
    """One page, newest first. The next page starts after the notification `next`."""

    rows: list[DeliveryLogEntry]
    next: UUID | None


def get_log_page(*, actor: Actor, state: str, after: UUID | None) -> DeliveryLogPage:
    """One page of the log. Raises PermissionDenied, and Notification.DoesNotExist for `after`."""
    permissions.require(permissions.can_administer(actor), "see notifications")
    rows = Notification.objects.select_related("person").order_by("-created_at", "-id")
    if state:
        rows = rows.filter(state=state)
    if after is not None:
        last = Notification.objects.get(pk=after)
        rows = rows.filter(created_at__lte=last.created_at).filter(
            Q(created_at__lt=last.created_at) | Q(id__lt=last.pk)
        )
    notifications = list(rows[: PAGE_SIZE + 1])
    page = notifications[:PAGE_SIZE]
    return DeliveryLogPage(
        rows=_log_entries(page), next=page[-1].pk if len(notifications) > PAGE_SIZE else None
    )


def _log_entries(rows: Sequence[Notification]) -> list[DeliveryLogEntry]:
    numbers = [row.event_seq for row in rows if row.event_seq is not None]
    events = {event.seq: event for event in with_values(AuditEvent.objects.filter(pk__in=numbers))}
    addresses = checkpoint_addresses()
    return [
        DeliveryLogEntry(
            notification=row,
            event=events.get(row.event_seq or 0),
            address=addresses.get(row.address_key, ""),
        )
        for row in rows
    ]


def count_by_destination(*, actor: Actor) -> list[DestinationCounts]:
    """Every configured destination with its counts. Raises PermissionDenied."""
    permissions.require(permissions.can_administer(actor), "see notifications")
    pending = Notification.objects.filter(
        state__in=[Notification.State.WAITING, Notification.State.GIVEN_UP]
    ).order_by()
    grouped = pending.values_list("channel", "address_key", "state").annotate(n=Count("pk"))
    counts = {(f"{channel}:{key}", state): count for channel, key, state, count in grouped}
    return [
        DestinationCounts(
            destination=destination,
            waiting=counts.get((destination.key, Notification.State.WAITING), 0),
            failed=counts.get((destination.key, Notification.State.GIVEN_UP), 0),
        )
        for destination in list_destinations()
    ]


def send_test(*, actor: Actor, key: str) -> Notification:
    """Send a test to a destination now. Return the notification with the result.

    Checkpoint recipients get the newest checkpoint again. For emails to people, only the actor gets
    the test. Call it outside any transaction. Raises PermissionDenied, and ConflictError when
    nothing can be sent.
    """
    permissions.require(permissions.can_administer(actor), "send test notifications")
    destination = next((item for item in list_destinations() if item.key == key), None)
    if destination is None:
        raise ConflictError("This destination is no longer configured.")
    is_to_people = destination.channel == Channel.MAIL and destination.takes_events
    person = actor.person if is_to_people else None
    if person is not None and not person.email:
        raise ConflictError("Your account has no email address. Add one to send a test.")
    checkpoint = None if destination.takes_events else _newest_checkpoint()
    with audit.atomic():
        audit.record(
            code=audit.EventCode.NOTIFICATION_TESTED,
            actor=actor,
            sentence=audit.Sentence(
                "{actor} sent a test notification by {channel}.",
                channel=destination.channel,
            ),
            details={"channel": destination.channel},
        )
        now = clock.now()
        notification = Notification.objects.create(
            code=audit.EventCode.NOTIFICATION_TESTED,
            subject_type="checkpoint" if checkpoint else "",
            subject_id=str(checkpoint.pk) if checkpoint else "",
            channel=destination.channel,
            person=person,
            address_key=destination.address_key,
            created_at=now,
            # Claimed immediately, so that no worker sends it too.
            due_at=now + delivery.CLAIM_TIMEOUT,
            attempts=1,
        )
    return delivery.deliver(notification=notification)


def _newest_checkpoint() -> Checkpoint:
    newest = checkpoints.latest_checkpoint() or checkpoints.make_checkpoint_if_due()
    if newest is None:
        raise ConflictError("There is no checkpoint to send yet.")
    return newest


def count_given_up(*, actor: Actor, now: datetime) -> int:
    """How many notifications failed recently; 0 for people who can't retry them."""
    if not permissions.can_administer(actor):
        return 0
    given_up = Notification.objects.filter(
        state=Notification.State.GIVEN_UP, created_at__gt=now - ALARM_FOR
    )
    return given_up.exclude(code=audit.EventCode.NOTIFICATION_TESTED).count()
