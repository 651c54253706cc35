"""Access reviews that repeat: the worker starts the next one so many months after the last one."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.access_reviews.population import (
    REPETITIONS,
    WHO_CAN,
    require_repetition,
    start_review,
)
from connections.audit import EventCode
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.months import months_after
from connections.models import AccessReview, Assignment

_TRIED_AGAIN_AFTER = timedelta(days=1)


def find_last_repeating() -> QuerySet[AccessReview]:
    """The access reviews that repeat and whose next one hasn't been started, oldest first."""
    next_ones = AccessReview.objects.filter(repeats=OuterRef("pk"))
    repeating = AccessReview.objects.filter(~Exists(next_ones), repeat_months__isnull=False)
    return repeating.order_by("created_at", "id")


def next_start(review: AccessReview) -> datetime | None:
    """When the next one is to be started. None if it doesn't repeat."""
    [(_, at)] = find_next_starts([review])
    return at


def find_next_starts(
    reviews: Iterable[AccessReview],
) -> list[tuple[AccessReview, datetime | None]]:
    """When the next one of each is to be started: whole months after the very first one.

    In a month that lacks its day, on the last day. One that was started late delays no other.
    """
    reviews = list(reviews)
    by_id = {}
    if any(review.repeats_id for review in reviews):
        repeating = AccessReview.objects.filter(repeat_months__isnull=False)
        by_id = repeating.only("created_at", "repeat_months", "repeats").in_bulk()
    return [(review, _next_start(review, by_id)) for review in reviews]


def _next_start(review: AccessReview, by_id: Mapping[UUID, AccessReview]) -> datetime | None:
    if review.repeat_months is None:
        return None
    first, *others = _repeated_until(review, by_id)
    months, step = 0, first.repeat_months or 0
    for other in others:
        months += step
        while months_after(first.created_at, months + step) <= other.created_at:
            months += step
        step = other.repeat_months or 0
    return months_after(first.created_at, months + step)


def _repeated_until(review: AccessReview, by_id: Mapping[UUID, AccessReview]) -> list[AccessReview]:
    """The very first one, and each that repeated the one before, until this one."""
    chain = [review]
    while chain[0].repeats_id:
        chain.insert(0, by_id[chain[0].repeats_id])
    return chain


def change_repetition(*, review: AccessReview, actor: Actor, repeat_months: int | None) -> None:
    """Repeat it every so many months, counted from its start, or no longer. It can be closed.

    Raises PermissionDenied, InvalidInputError for `repeat_months`, and ConflictError when the next
    one has been started.
    """
    permissions.require(permissions.can_manage_access_reviews(actor), WHO_CAN)
    require_repetition(repeat_months)
    with audit.atomic():
        _lock(review)
        if AccessReview.objects.filter(repeats=review).exists():
            raise ConflictError("The next access review has been started. Change that one.")
        if review.repeat_months == repeat_months:
            return
        review.repeat_months, review.repeat_failed_at = repeat_months, None
        review.save(update_fields=["repeat_months", "repeat_failed_at"])
        every = REPETITIONS[repeat_months] if repeat_months else "no longer"
        audit.record(
            code=EventCode.ACCESS_REVIEW_REPETITION_CHANGED,
            actor=actor,
            subject=review,
            sentence=audit.Sentence(
                "{actor} changed how the access review {name} repeats: {every}.",
                name=review.name,
                every=every,
            ),
            details={"repeat_months": repeat_months},
            rows={"access_review": audit.changed(review, "repeat_months", actor=actor)},
        )


def start_due(*, actor: Actor) -> None:
    """Start what is due. What can't be started is recorded, and tried again a day later."""
    for review in find_last_repeating():
        try:
            with audit.atomic():
                if _lock_due(review):
                    _start_next(review, actor=actor)
        except (PermissionDenied, InvalidInputError) as error:
            fields = error.fields.values() if isinstance(error, InvalidInputError) else [str(error)]
            _record_failure(review, reason=" ".join(fields), actor=actor)


def _lock(review: AccessReview) -> None:
    review.refresh_from_db(from_queryset=AccessReview.objects.select_for_update(no_key=True))


def _lock_due(review: AccessReview) -> bool:
    """Lock it, so that only one of two workers starts the next one. Whether that is due."""
    now, at = clock.now(), next_start(review)
    if at is None or at > now:
        return False
    _lock(review)
    at, failed_at = next_start(review), review.repeat_failed_at
    is_waiting = failed_at is not None and now - failed_at < _TRIED_AGAIN_AFTER
    is_due = at is not None and at <= now and not is_waiting
    return is_due and not AccessReview.objects.filter(repeats=review).exists()


def _start_next(review: AccessReview, *, actor: Actor) -> None:
    creator = person_actor(person=review.created_by)
    if not permissions.can_manage_access_reviews(creator):
        raise PermissionDenied("The person who started the last one can no longer start one.")
    reviewers = list(
        permissions.possible_reviewers().filter(pk__in=review.reviewers.values("person"))
    )
    if not reviewers and not review.is_for_everyone:
        raise InvalidInputError({"reviewers": "None of its reviewers can still be a reviewer."})
    start_review(
        actor=creator,
        name=review.name,
        scope=review.scope,
        due=clock.now().date() + (review.due_at.date() - review.created_at.date()),
        reviewers=reviewers,
        assignment=Assignment(review.assignment),
        repeat_months=review.repeat_months,
        repeats=review,
        started_by=actor,
    )


def _record_failure(review: AccessReview, *, reason: str, actor: Actor) -> None:
    with audit.atomic():
        if not _lock_due(review):
            return
        review.repeat_failed_at = clock.now()
        review.save(update_fields=["repeat_failed_at"])
        audit.record(
            code=EventCode.ACCESS_REVIEW_REPEAT_FAILED,
            actor=actor,
            subject=review,
            sentence=audit.Sentence(
                "The next access review {name} wasn't started: {reason}",
                name=review.name,
                reason=reason,
            ),
            details={"name": review.name, "reason": reason},
        )
