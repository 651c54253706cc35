"""Access reviews by owners: who alone decides on a connection. Computed, never stored.

It is the first owner of its orgs who can be a reviewer and see the connection. Everyone who can
decides on a connection without such an owner.
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import OuterRef, Q
from django.db.models.functions import Coalesce

from connections.access import permissions, visibility
from connections.access_reviews.current import is_last_listed
from connections.agreements.owners import first_owner
from connections.models import AccessReview, Assignment


def assigned_to_owners(reviews: Collection[AccessReview]) -> list[UUID]:
    """The IDs of the open ones among these whose connections are decided by their owners."""
    return [
        review.pk
        for review in reviews
        if review.assignment == Assignment.OWNERS and not review.is_closed
    ]


def deciding_owner() -> Coalesce:
    """The ID of the owner who alone decides on a row, or NULL, in a query of rows."""
    row = {name: OuterRef(OuterRef(name)) for name in ("site", "connection_id")}
    sees = visibility.sees_credential(OuterRef(OuterRef("owner")))
    reviewers = permissions.possible_reviewers().values("pk")
    return first_owner(Q(owner__in=reviewers) & is_last_listed(sees, **row))
