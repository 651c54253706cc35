"""Delivers notifications: claims a row, sends it, and stores the result.

The table is the queue, so any number of workers can run. A claim moves `due_at` ahead and is
committed before anything is sent, so no lock is held while sending. If a process dies in between,
the row becomes due again, and the receiver can get the notification twice, with the same ID.

The messages about one object are first tried in the order of their events, one after the other for
each recipient. A message that waits for its retry holds none back.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import WORKER, Actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.database import skip_locked
from connections.core.errors import ConflictError
from connections.core.text import pluralize
from connections.models import Notification
from connections.notification_queue import outbox
from connections.notifications import channels
from connections.notifications.channels import DeliveryResult, DeliveryStatus
from connections.notifications.formats import MAX_ROWS, Message, join_messages
from connections.notifications.messages import build_message

logger = logging.getLogger(__name__)

# The wait after the first attempt, after the second, and so on. The attempt after the last wait is
# the last one.
RETRY_DELAYS = tuple(timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800, 7200))
MAX_RETRY_DELAY = max(RETRY_DELAYS)
# A claim without a result expires after this time, which is longer than any attempt takes.
CLAIM_TIMEOUT = timedelta(minutes=2)
# How long finished notifications stay in the delivery log.
RETENTION = timedelta(days=90)
# Within this time, at most one event per destination records that its deliveries failed.
FAILURE_EVENT_INTERVAL = timedelta(hours=24)


def run_due(*, channel: Notification.Channel, is_over: Callable[[], bool] = lambda: False) -> int:
    """Deliver what is due on this channel until `is_over`. Return the number of attempts.

    Call it outside any transaction. Raises database errors.
    """
    count = 0
    while not is_over() and (notification := claim_next(channel=channel)):
        deliver(notification=notification)
        count += 1
    return count


def claim_next(*, channel: Notification.Channel) -> Notification | None:
    """Claim the notification that has been due longest, so that no other worker sends it."""
    due = _due(channel)
    # Nearly always false, which saves a transaction.
    if not due.exists():
        return None
    with audit.atomic():
        notification = skip_locked(due.order_by("due_at", "event_seq")).first()
        if notification is None or not _claim(notification):
            return None
    notification.refresh_from_db()
    return notification


def has_due(*, channel: Notification.Channel) -> bool:
    """Whether a notification of this channel is due now."""
    return _due(channel).exists()


def _due(channel: Notification.Channel) -> QuerySet[Notification]:
    waiting = Notification.objects.filter(~Exists(_EARLIER), channel=channel, due_at__isnull=False)
    return waiting.filter(due_at__lte=clock.now_in_query())


# Earlier messages about the same object to the same recipient whose first attempt has no result
# yet. One whose process has died in it holds nothing back from its second attempt on.
_EARLIER = Notification.objects.filter(
    Q(person=OuterRef("person")) | Q(person=None),
    channel=OuterRef("channel"),
    subject_type=OuterRef("subject_type"),
    subject_id=OuterRef("subject_id"),
    event_seq__lt=OuterRef("event_seq"),
    due_at__isnull=False,
    answered_at=None,
    attempts__lte=1,
)


def _claim_together(notification: Notification) -> list[Notification]:
    """Claim what goes into the same email: what is due of the same kind for the same person."""
    is_email = notification.channel == Notification.Channel.MAIL
    if not is_email or notification.code not in outbox.SENT_TOGETHER:
        return []
    same = Notification.objects.filter(
        person=notification.person_id,
        channel=notification.channel,
        code=notification.code,
        due_at__lte=clock.now_in_query(),
    )
    with audit.atomic():
        due = skip_locked(same.order_by("due_at", "event_seq"))[: MAX_ROWS - 1]
        claimed = [each for each in due if _claim(each)]
    for each in claimed:
        each.refresh_from_db()
    return claimed


def _claim(notification: Notification) -> bool:
    due = Notification.objects.filter(
        pk=notification.pk, state=Notification.State.WAITING, due_at=notification.due_at
    )
    return bool(due.update(due_at=clock.now() + CLAIM_TIMEOUT, attempts=F("attempts") + 1))


def deliver(*, notification: Notification) -> Notification:
    """Send a claimed notification once, with others of its kind, and store the result.

    Raises database errors. The notification is then sent again later.
    """
    messages: dict[Notification, Message] = {}
    for each in (notification, *_claim_together(notification)):
        message = _build_message(each)
        if isinstance(message, Message):
            messages[each] = message
        else:
            _store_result(each, message)
    if messages:
        message = join_messages(list(messages.values()))
        result = channels.send(notification=next(iter(messages)), message=message)
        for each in messages:
            _store_result(each, result)
    notification.refresh_from_db()
    return notification


def _build_message(notification: Notification) -> Message | DeliveryResult:
    """The message or, if there is none to send, the result."""
    if notification.attempts > len(RETRY_DELAYS) + 1:
        # Every process that claimed it died or failed before storing a result.
        return DeliveryResult(status=DeliveryStatus.FAILED, text="No attempt returned a result.")
    try:
        return build_message(notification)
    except ObjectDoesNotExist:
        return DeliveryResult(
            status=DeliveryStatus.NO_RECIPIENT,
            text="Nothing to send: its subject is gone, hidden or acknowledged.",
        )


def _store_result(notification: Notification, result: DeliveryResult) -> None:
    now = clock.now()
    state, delay = _next_state(notification, result)
    with audit.atomic():
        # Another worker that claimed it in the meantime has counted one more attempt.
        claimed = Notification.objects.filter(
            pk=notification.pk, state=Notification.State.WAITING, attempts=notification.attempts
        )
        is_stored = claimed.update(
            state=state,
            due_at=now + delay if delay else None,
            answered_at=now,
            status=result.status_code,
            result=result.text[:200],
        )
        if is_stored and state == Notification.State.GIVEN_UP:
            _record_failure(notification, result)
    if state == Notification.State.GIVEN_UP:
        message = "Notification %s (%s) failed. %s"
        logger.warning(message, notification.pk, notification, result.text)


def _next_state(
    notification: Notification, result: DeliveryResult
) -> tuple[Notification.State, timedelta | None]:
    if result.status == DeliveryStatus.DELIVERED:
        return Notification.State.DELIVERED, None
    if result.status == DeliveryStatus.NO_RECIPIENT:
        return Notification.State.DROPPED, None
    is_test = notification.code == EventCode.NOTIFICATION_TESTED
    is_last = is_test or notification.attempts > len(RETRY_DELAYS)
    if result.status == DeliveryStatus.REFUSED or is_last:
        return Notification.State.GIVEN_UP, None
    requested = min(timedelta(seconds=result.retry_after_seconds or 0), MAX_RETRY_DELAY)
    return Notification.State.WAITING, max(RETRY_DELAYS[notification.attempts - 1], requested)


def _record_failure(notification: Notification, result: DeliveryResult) -> None:
    """Record that deliveries to a destination fail, once per FAILURE_EVENT_INTERVAL.

    A failed test and a failed notification about failures record nothing.
    """
    if notification.code in {EventCode.NOTIFICATION_FAILED, EventCode.NOTIFICATION_TESTED}:
        return
    now = clock.now()
    failures = same_destination(notification).filter(
        state=Notification.State.GIVEN_UP,
        answered_at__gt=now - FAILURE_EVENT_INTERVAL,
    )
    if failures.exclude(pk=notification.pk).exclude(code=EventCode.NOTIFICATION_TESTED).exists():
        return
    audit.record(
        code=EventCode.NOTIFICATION_FAILED,
        actor=WORKER,
        sentence=audit.Sentence(
            "Notification {event} could not be delivered by {channel} in {attempts} attempts.",
            event=notification.code,
            channel=notification.channel,
            attempts=notification.attempts,
        ),
        details={
            "notice": str(notification.pk),
            "status": result.status_code,
            "channel": notification.channel,
        },
    )


def same_destination(notification: Notification) -> QuerySet[Notification]:
    """All notifications for the same destination."""
    return Notification.objects.filter(
        channel=notification.channel,
        person=notification.person_id,
        address_key=notification.address_key,
    )


def retry(*, actor: Actor, notification: Notification) -> int:
    """Queue all failed notifications to the same destination again. Return how many.

    Raises PermissionDenied, and ConflictError when there are none.
    """
    permissions.require(permissions.can_administer(actor), "retry notifications")
    with audit.atomic():
        given_up = same_destination(notification).filter(state=Notification.State.GIVEN_UP)
        count = given_up.update(state=Notification.State.WAITING, due_at=clock.now(), attempts=0)
        if not count:
            raise ConflictError("This destination has no failed notifications.")
        audit.record(
            code=EventCode.NOTIFICATION_RETRIED,
            actor=actor,
            sentence=audit.Sentence(
                "Retrying {notifications} by {channel}.",
                notifications=pluralize(count, "failed notification"),
                channel=notification.channel,
            ),
            details={"channel": notification.channel, "count": count},
        )
    return count


def delete_old_notifications() -> int:
    """Delete notifications whose delivery ended more than RETENTION ago. Return how many."""
    ended = Notification.objects.filter(due_at=None, created_at__lt=clock.now() - RETENTION)
    count, _ = ended.delete()
    return count
