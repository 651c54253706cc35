"""Delivering notices: claim, send, write down what came of it.

The row is the queue and its claim the lock, so any number of workers may run. The claim is
committed before anything is sent and holds no lock meanwhile; a process that dies in between
leaves a row that is due again, and the far end may hear of it twice, with the same id.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.db.models import F, Q, QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import WORKER, Actor
from connections.core import clock
from connections.core.errors import ConflictError
from connections.models import Notification
from connections.notifications import channels
from connections.notifications.channels import DeliveryResult, DeliveryStatus
from connections.notifications.messages import build_message

logger = logging.getLogger(__name__)

# After the first try, the second, …; after the last one it is given up.
RETRY_DELAYS = tuple(timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800, 7200))
MAX_RETRY_DELAY = timedelta(hours=2)
# A claim without a result is lost after this: longer than any one sending may take.
CLAIM_TIMEOUT = timedelta(minutes=2)
# The log of what came to its end is kept this long; it is not the record.
RETENTION = timedelta(days=90)
# One event says that a destination cannot be told, however many notices are given up there.
FAILURE_EVENT_INTERVAL = timedelta(hours=24)

State = Notification.State


def run_due(*, channel: Notification.Channel, is_over: Callable[[], bool] = lambda: False) -> int:
    """Deliver what is due by this channel, until `is_over`; gives how many were tried.

    Call it outside any transaction. Raises what the database raises.
    """
    count = 0
    while not is_over() and (notice := claim_next(channel=channel)):
        deliver(notice=notice)
        count += 1
    return count


def claim_next(*, channel: Notification.Channel) -> Notification | None:
    """Take the notice that is due longest, so that other workers leave it alone meanwhile."""
    with audit.atomic():
        due = Notification.objects.filter(_is_due(clock.now()), channel=channel).order_by("due_at")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True, no_key=True)
        notice = due.first()
        if notice is None or not _claim(notice):
            return None
    notice.refresh_from_db()
    return notice


def _is_due(now: datetime) -> Q:
    """That its time has come, or that a clock which was ahead put it too far off."""
    return Q(due_at__lte=now) | Q(due_at__gt=now + MAX_RETRY_DELAY + clock.TOLERANCE)


def _claim(notice: Notification) -> bool:
    due = Notification.objects.filter(pk=notice.pk, state=State.WAITING, due_at=notice.due_at)
    return bool(due.update(due_at=clock.now() + CLAIM_TIMEOUT, tries=F("tries") + 1))


def deliver(*, notice: Notification) -> Notification:
    """Send a claimed notice once and write down what came of it.

    Raises what the database raises; it is then tried again.
    """
    _store_result(notice, _send(notice))
    notice.refresh_from_db()
    return notice


def _send(notice: Notification) -> DeliveryResult:
    if notice.tries > len(RETRY_DELAYS) + 1:
        # Each process that had it died, or failed in a way of its own.
        return DeliveryResult(verdict=DeliveryStatus.FAILED, words="No try came to a result.")
    try:
        message = build_message(notice)
    except ObjectDoesNotExist:
        return DeliveryResult(
            verdict=DeliveryStatus.NOBODY, words="What it tells of is not in the database."
        )
    return channels.send(notice=notice, message=message)


def _store_result(notice: Notification, result: DeliveryResult) -> None:
    now = clock.now()
    state, due_at = _next_state(notice, result)
    with audit.atomic():
        # A claim that was lost to another worker meanwhile has another number of tries.
        stands = Notification.objects.filter(pk=notice.pk, state=State.WAITING, tries=notice.tries)
        noted = stands.update(
            state=state,
            due_at=now + due_at if due_at else None,
            answered_at=now,
            status=result.status,
            answer=result.words[:200],
        )
        if noted and state == State.GIVEN_UP:
            _record_failure(notice, result)
    if state == State.GIVEN_UP:
        logger.warning("Notice %s (%s) was given up. %s", notice.pk, notice, result.words)


def _next_state(notice: Notification, result: DeliveryResult) -> tuple[State, timedelta | None]:
    if result.verdict == DeliveryStatus.DELIVERED:
        return State.DELIVERED, None
    if result.verdict == DeliveryStatus.NOBODY:
        return State.DROPPED, None
    is_last = notice.tries > len(RETRY_DELAYS) or notice.code == audit.EventCode.NOTIFICATION_TESTED
    if result.verdict == DeliveryStatus.REFUSED or is_last:
        return State.GIVEN_UP, None
    asked = timedelta(seconds=result.retry_after_seconds or 0)
    return State.WAITING, max(RETRY_DELAYS[notice.tries - 1], min(asked, MAX_RETRY_DELAY))


def _record_failure(notice: Notification, result: DeliveryResult) -> None:
    """Record that a destination cannot be told, unless that is known or was the news itself."""
    if notice.code in {audit.EventCode.NOTIFICATION_FAILED, audit.EventCode.NOTIFICATION_TESTED}:
        return
    now = clock.now()
    known = same_destination(notice).filter(
        state=State.GIVEN_UP,
        answered_at__gt=now - FAILURE_EVENT_INTERVAL,
        answered_at__lte=now + clock.TOLERANCE,
    )
    if known.exclude(pk=notice.pk).exclude(code=audit.EventCode.NOTIFICATION_TESTED).exists():
        return
    audit.record(
        code=audit.EventCode.NOTIFICATION_FAILED,
        actor=WORKER,
        sentence=f"A notice ({notice.code}) could not be delivered by {notice.channel} and was "
        f"given up after {notice.tries} tries.",
        details={"notice": str(notice.pk), "status": result.status, "channel": notice.channel},
    )


def same_destination(notice: Notification) -> QuerySet[Notification]:
    """All notices that go where this one goes."""
    return Notification.objects.filter(
        channel=notice.channel, person=notice.person_id, address_key=notice.address_key
    )


def retry(*, actor: Actor, notice: Notification) -> int:
    """Try everything again that was given up for this one's destination; gives how many.

    Raises PermissionDenied, and ConflictError when nothing is given up there.
    """
    permissions.require(permissions.can_administer(actor), "try notices again")
    with audit.atomic():
        given_up = same_destination(notice).filter(state=State.GIVEN_UP)
        count = given_up.update(state=State.WAITING, due_at=clock.now(), tries=0)
        if not count:
            raise ConflictError("Nothing is given up for this destination any more.")
        audit.record(
            code=audit.EventCode.NOTIFICATION_RETRIED,
            actor=actor,
            sentence=f"{count} given-up notices by {notice.channel} are tried again.",
            details={"channel": notice.channel, "count": count},
        )
    return count


def delete_old_notifications() -> int:
    """Remove what came to its end long ago; gives how many."""
    ended = Notification.objects.filter(due_at=None, created_at__lt=clock.now() - RETENTION)
    count, _ = ended.delete()
    return count
