"""Access reviews by owners: who alone decides on a connection. Computed, never stored.

It is the owner that the agreement names, else the source org's owner, if that person can be a
reviewer and see the connection. Everyone who can decides on a connection without such an owner.
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import QuerySet

from connections.access import permissions, visibility
from connections.access_reviews.current import deciding_credentials
from connections.agreements.agreed import load_agreements
from connections.core import clock
from connections.models import AccessReview, AccessReviewRow, Assignment, Org, OrgConnectionKey
from connections.models.text_columns import HexId, HexKey


def assigned_to_owners(reviews: Collection[AccessReview]) -> list[UUID]:
    """The IDs of the open ones among these whose connections are decided by their owners."""
    return [
        review.pk
        for review in reviews
        if review.assignment == Assignment.OWNERS and not review.is_closed
    ]


def find_deciding_owners(rows: QuerySet[AccessReviewRow]) -> dict[HexKey, UUID]:
    """The owner of each connection who alone decides on it. The others have no entry.

    The number of queries doesn't depend on the number of rows.
    """
    agreements = load_agreements(today=clock.now().date())
    owned = Org.objects.exclude(owner=None).order_by()
    of_orgs = {
        (site, org_id): owner
        for site, org_id, owner in owned.values_list("site", "org_id", HexId("owner_id"))
    }
    columns = ("site", HexId("connection_id"), "source_org_id", "sink_org_id")
    owners = {
        (site, hex_id): (agreements.owner_of((site, *orgs)), of_orgs.get((site, orgs[0]), ""))
        for site, hex_id, *orgs in rows.order_by().values_list(*columns)
    }
    named = {UUID(owner) for pair in owners.values() for owner in pair if owner}
    people = permissions.possible_reviewers().filter(pk__in=named)
    hidden = {pk.hex: credentials for pk, credentials in visibility.hidden_from(people).items()}
    uncertain = [
        OrgConnectionKey(site=site, connection_id=UUID(hex_id))
        for (site, hex_id), pair in owners.items()
        if any(hidden.get(owner) for owner in pair)
    ]
    listed_by = {
        (key.site, key.connection_id.hex): credentials
        for key, credentials in deciding_credentials(uncertain).items()
    }

    def can_decide(owner: str, key: HexKey) -> bool:
        credentials = hidden.get(owner)
        return credentials is not None and (
            not credentials or not listed_by.get(key, set()) <= credentials
        )

    return {
        key: UUID(owner)
        for key, pair in owners.items()
        # In reverse, because the last entry of a key is the one that stays.
        for owner in reversed(pair)
        if can_decide(owner, key)
    }
