"""Changing who decides in an open access review."""

from collections.abc import Sequence

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.access_reviews.decisions import find_rows, lock_open_review
from connections.access_reviews.owners import record_owner
from connections.access_reviews.population import (
    WHO_CAN,
    require_possible_reviewers,
    reviewer_rows,
    reviewers_sentence,
)
from connections.audit import EventCode
from connections.core.errors import InvalidInputError
from connections.models import AccessReview, AccessReviewReviewer, Assignment, Person


def change_owner(
    *, review: AccessReview, actor: Actor, connections: Sequence[str], owner: Person
) -> None:
    """Name this person as the one who decides on these connections, or on none of them.

    Raises PermissionDenied, InvalidInputError naming the fields, and ConflictError when the review
    is closed or its owners aren't fixed.
    """
    permissions.require(permissions.can_manage_access_reviews(actor), WHO_CAN)
    rows = find_rows(review, actor=actor, connections=connections)
    with audit.atomic():
        lock_open_review(review)
        record_owner(review, rows=rows, owner=owner, actor=actor)


def change_reviewers(*, review: AccessReview, actor: Actor, reviewers: Sequence[Person]) -> None:
    """Replace the reviewers with these people. Decisions stay, and new reviewers get an email.

    Raises PermissionDenied, InvalidInputError for `reviewers`, and ConflictError when it is closed.
    """
    permissions.require(permissions.can_manage_access_reviews(actor), WHO_CAN)
    if not reviewers:
        raise InvalidInputError({"reviewers": "Choose at least 1 reviewer."})
    with audit.atomic():
        lock_open_review(review)
        require_possible_reviewers(reviewers)
        chosen = {person.pk: person for person in reviewers}
        named = set(review.reviewers.values_list("person", flat=True))
        added = [person for pk, person in chosen.items() if pk not in named]
        if not added and named == set(chosen):
            return
        if review.is_for_everyone:
            review.is_for_everyone, review.assignment = False, Assignment.REVIEWERS
            review.save(update_fields=["is_for_everyone", "assignment"])
        review.reviewers.exclude(person__in=chosen).delete()
        stored = AccessReviewReviewer.objects.bulk_create(
            AccessReviewReviewer(review=review, person=person, name=person.display_name)
            for person in added
        )
        audit.record(
            code=EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED,
            actor=actor,
            subject=review,
            sentence=audit.Sentence(
                "{actor} changed the reviewers of the access review {name}.",
                name=review.name,
            ).followed_by(reviewers_sentence(review.reviewers.select_related("person"))),
            details={
                "name": review.name,
                "due_at": review.due_at.isoformat(),
                "previous_reviewers": sorted(str(pk) for pk in named),
                "reviewers": sorted(str(pk) for pk in chosen),
                "added": sorted(str(person.pk) for person in added),
            },
            rows={
                "access_review": audit.changed(
                    review, "is_for_everyone", "assignment", actor=actor
                ),
                **{f"reviewer {pk}": None for pk in named - set(chosen)},
                **reviewer_rows(stored),
            },
        )
