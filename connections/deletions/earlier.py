"""What people decided earlier about connections that someone wants to delete now."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from connections.access import visibility
from connections.access.actor import Actor
from connections.models import (
    AccessReviewDecision,
    Deletion,
    OrgConnectionKey,
    ReviewDecision,
)

# How many are read.
MAX_EARLIER = 50


@dataclass(frozen=True, kw_only=True)
class EarlierDecision:
    """How an earlier deletion of a connection ended, or why an access review kept it."""

    at: datetime
    # "Deletion: Declined", "Keep, Q3 2026".
    label: str
    # "Labs → Mobile". If `count` is more than 1, one of the connections.
    connection: str
    by: str
    reason: str
    # The earlier deletion, if it was one.
    deletion_id: UUID | None = None
    count: int = 1


def find_earlier_decisions(
    *, keys: Collection[OrgConnectionKey], before: datetime, actor: Actor
) -> list[EarlierDecision]:
    """The decisions about these connections that were made before a time, newest first.

    Those that say the same are one. The actor must be able to see the connections.
    """
    named = {
        "site__in": {key.site for key in keys},
        "connection_id__in": {key.connection_id for key in keys},
    }
    ended = visibility.visible(Deletion.objects.filter(**named, settled_at__lt=before), actor=actor)
    kept = AccessReviewDecision.objects.filter(
        **{f"row__{name}": values for name, values in named.items()},
        decision=ReviewDecision.KEEP,
        decided_at__lt=before,
    ).select_related("row__review")
    newest = list(kept.order_by("-id")[:MAX_EARLIER])
    visible_reviews = visibility.visible_access_review_ids(
        {decision.row.review_id for decision in newest}, actor=actor
    )
    earlier = [_of_deletion(row) for row in ended.order_by("-settled_at")[:MAX_EARLIER]]
    earlier += [_of_review(keep) for keep in newest if keep.row.review_id in visible_reviews]
    by_text: dict[tuple[str, str, str], EarlierDecision] = {}
    for decision in sorted(earlier, key=lambda decision: decision.at, reverse=True):
        text = (decision.label, decision.by, decision.reason)
        first = by_text.setdefault(text, replace(decision, count=0))
        by_text[text] = replace(first, count=first.count + 1)
    return list(by_text.values())


def _of_deletion(deletion: Deletion) -> EarlierDecision:
    if deletion.settled_at is None:
        raise ValueError("This deletion is open.")
    return EarlierDecision(
        at=deletion.settled_at,
        label=f"Deletion: {deletion.progress}",
        connection=deletion.pair,
        by=deletion.settled_by_name if deletion.settled_reason else deletion.requested_by_name,
        reason=deletion.settled_reason or deletion.reason,
        deletion_id=deletion.pk,
    )


def _of_review(decision: AccessReviewDecision) -> EarlierDecision:
    return EarlierDecision(
        at=decision.decided_at,
        label=f"Keep, {decision.row.review.name}",
        connection=decision.row.pair,
        by=decision.decided_by_name,
        reason=decision.reason,
    )
