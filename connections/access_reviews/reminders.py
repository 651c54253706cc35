"""Reminders of open access reviews: a week before the due date, a day before, and once after it."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.progress import count_decidable
from connections.access_reviews.rows import review_rows
from connections.audit import EventCode
from connections.core import clock
from connections.core.text import pluralize
from connections.models import AccessReview, AccessReviewState


class Reminder(StrEnum):
    """When reviewers are reminded, earliest first."""

    WEEK = "week"
    DAY = "day"
    OVERDUE = "overdue"


# How long before the due date each is sent. A review that started later skips that reminder.
_BEFORE = {
    Reminder.WEEK: timedelta(days=7),
    Reminder.DAY: timedelta(days=1),
    Reminder.OVERDUE: timedelta(),
}


def send_due(*, actor: Actor) -> None:
    """Queue the emails to reviewers who have something to decide.

    Does nothing unless a destination is configured. Raises DatabaseError.
    """
    if not (settings.WEBHOOK_URL or settings.SLACK_URL or settings.HAS_MAIL):
        return
    now = clock.now()
    is_due = Q()
    for reminder, before in _BEFORE.items():
        starts = F("due_at") - before
        is_due |= Q(
            **{_sent_at_field(reminder): None}, due_at__lte=now + before, created_at__lte=starts
        )
    due = AccessReview.objects.filter(is_due, state=AccessReviewState.OPEN).order_by("due_at", "id")
    for review in due:
        _send(review, actor=actor)


def _sent_at_field(reminder: Reminder) -> str:
    return f"{reminder}_reminder_at"


def _send(review: AccessReview, *, actor: Actor) -> None:
    # Before taking the lock, because counting takes a while.
    pending = _count_pending(review, actor=actor)
    if not pending:
        # Still due: a connection that changes, or is kept until a date, can become pending again.
        return
    with audit.atomic():
        # Locked so that only one of two workers sends it.
        review.refresh_from_db(from_queryset=AccessReview.objects.select_for_update(no_key=True))
        now = clock.now()
        # Only the last reminder is sent; it replaces earlier ones that weren't sent in time.
        due = _due_reminders(review, now=now)
        if review.is_closed or not due:
            return
        for reminder in due:
            setattr(review, _sent_at_field(reminder), now)
        review.save(update_fields=[_sent_at_field(reminder) for reminder in due])
        audit.record(
            code=EventCode.ACCESS_REVIEW_REMINDED,
            actor=actor,
            subject=review,
            sentence=audit.Sentence(
                "{reviewers} of the access review {name}, due on {due}, still had connections to "
                "decide on.",
                reviewers=pluralize(len(pending), "reviewer"),
                name=review.name,
                due=f"{review.due_at:%Y-%m-%d}",
            ),
            details={
                "reminder": due[-1].value,
                "name": review.name,
                "due": f"{review.due_at:%Y-%m-%d}",
                "pending": {str(pk): count for pk, count in pending.items()},
            },
        )


def _due_reminders(review: AccessReview, *, now: datetime) -> list[Reminder]:
    return [
        reminder
        for reminder, before in _BEFORE.items()
        if getattr(review, _sent_at_field(reminder)) is None and now >= review.due_at - before
    ]


def _count_pending(review: AccessReview, *, actor: Actor) -> dict[UUID, int]:
    """How many pending rows each reviewer can decide on, without reviewers who have none."""
    rows = review_rows(review=review, actor=actor)
    counts = count_decidable(rows, people=permissions.deciders_of(review))
    return {pk: count for pk, count in counts.items() if count}
