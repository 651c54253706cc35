"""How many access reviews wait for a person, for a count that every page shows."""

from django.db.models import Exists, OuterRef, Q

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access_reviews.progress import open_reviews_to_decide
from connections.models import AccessReviewDecision, AccessReviewRow, OrgConnectionSnapshot


def count_awaiting_decisions(*, actor: Actor) -> int:
    """How many open access reviews have a connection without a decision that the actor can make.

    One query, which counts any decision: whether one still counts is known only from all rows.
    """
    last_listed = OrgConnectionSnapshot.objects.filter(
        site=OuterRef("site"), connection_id=OuterRef("connection_id"), is_current=True
    )
    decidable: Exists | Q = Exists(last_listed)
    if hidden := visibility_of(actor).hidden:
        listed = last_listed.filter(credential__retired_at=None)
        decidable = Exists(listed.exclude(credential__in=hidden)) | (
            ~Exists(listed) & Exists(last_listed.exclude(credential__in=hidden))
        )
    decided = AccessReviewDecision.objects.filter(row=OuterRef("pk"))
    # In this order: SQLite would look for the snapshots of every decided row first.
    undecided = AccessReviewRow.objects.filter(~Exists(decided), review=OuterRef("pk"))
    undecided = undecided.filter(decidable)
    return open_reviews_to_decide(actor=actor).filter(Exists(undecided)).count()
