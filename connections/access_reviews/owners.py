"""Access reviews by owners: who alone decides on a connection.

When a review starts, it is fixed as the first owner of the connection's orgs who has a role and can
see it; an auditor can name someone else. Every possible reviewer decides on a connection without
such an owner, and on one whose owner can't any more. Until 1.2.0, it was computed at every use, for
owners who can be reviewers.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from uuid import UUID

from django.db.models import Case, OuterRef, Q, QuerySet, Subquery, UUIDField, When
from django.db.models.functions import Coalesce

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import is_last_listed
from connections.agreements.owners import first_owner
from connections.audit import EventCode
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.text import pluralize
from connections.models import AccessReview, AccessReviewRow, Assignment, Person

_ROW = {name: OuterRef(OuterRef(name)) for name in ("site", "connection_id")}


def assigned_to_owners(reviews: Collection[AccessReview]) -> list[UUID]:
    """The IDs of the open ones among these whose connections are decided by their owners."""
    return [
        review.pk
        for review in reviews
        if review.assignment == Assignment.OWNERS and not review.is_closed
    ]


def deciding_owner() -> Case:
    """The ID of the owner who alone decides on a row, or NULL, in a query of rows."""
    sees = visibility.sees_credential(OuterRef(OuterRef("pk")))
    able = is_last_listed(sees, **_ROW)
    named = permissions.possible_owners().filter(able, pk=OuterRef("owner"))
    return Case(
        When(
            review__has_fixed_owners=True,
            then=Subquery(named.values("pk")[:1], output_field=UUIDField()),
        ),
        default=_first_owner(permissions.possible_reviewers()),
        output_field=UUIDField(),
    )


def _first_owner(people: QuerySet[Person]) -> Coalesce:
    sees = visibility.sees_credential(OuterRef(OuterRef("owner")))
    return first_owner(Q(owner__in=people.values("pk")) & is_last_listed(sees, **_ROW))


def fix_owners(review: AccessReview) -> dict[str, list[int]]:
    """Fix who decides on each row of a review that just started. Return the positions by person."""
    owners = dict(review.rows.values_list("pk", _first_owner(permissions.possible_owners())))
    rows = list(review.rows.only("pk", "position"))
    for row in rows:
        row.owner_id = owners[row.pk]
    AccessReviewRow.objects.bulk_update([row for row in rows if row.owner_id], ["owner"], 500)
    positions = defaultdict[str, list[int]](list)
    for row in rows:
        if row.owner_id:
            positions[str(row.owner_id)].append(row.position)
    return dict(positions)


def record_owner(
    review: AccessReview, *, rows: Sequence[AccessReviewRow], owner: Person, actor: Actor
) -> None:
    """Make this person the one who decides on these rows of a locked open review.

    Raises InvalidInputError for `owner`, and ConflictError if its owners aren't fixed.
    """
    if not review.has_fixed_owners:
        raise ConflictError(
            "In this access review, no one is named as the one who decides on a connection. "
            "Nothing was saved."
        )
    if not permissions.possible_owners().filter(pk=owner.pk).exists():
        raise InvalidInputError({"owner": "The owner must be active and have a role."})
    review.rows.filter(pk__in=[row.pk for row in rows]).update(owner=owner)
    audit.record(
        code=EventCode.ACCESS_REVIEW_OWNER_CHANGED,
        actor=actor,
        subject=review,
        sentence=audit.Sentence(
            "{actor} named {owner} to decide on {connections} in the access review {name}.",
            owner=owner.display_name,
            connections=pluralize(len(rows), "connection"),
            name=review.name,
        ),
        details={
            "name": review.name,
            "due_at": review.due_at.isoformat(),
            "owners": [str(owner.pk)],
            "positions": sorted(row.position for row in rows),
        },
    )
