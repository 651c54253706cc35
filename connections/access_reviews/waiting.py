"""How many access reviews wait for a person, for a count that every page shows."""

from django.db.models import Exists, OuterRef

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access_reviews.progress import open_reviews_to_decide
from connections.models import AccessReviewRow, OrgConnectionSnapshot


def count_awaiting_decisions(*, actor: Actor) -> int:
    """How many open access reviews have a listed connection that no reviewer has decided about.

    One query, which counts any decision: whether one still counts is known only from all rows.
    """
    listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"),
        connection_id=OuterRef("connection_id"),
        is_current=True,
        credential__retired_at=None,
    ).exclude(credential__in=visibility_of(actor).hidden)
    undecided = AccessReviewRow.objects.filter(
        Exists(listed), review=OuterRef("pk"), decisions=None
    )
    return open_reviews_to_decide(actor=actor).filter(Exists(undecided)).count()
