"""Noticing that Datadog lists a connection whose deletion is settled as gone."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.models import GONE_OUTCOMES, Deletion, Outcome, State


def flag_contradictions(
    *,
    site: str,
    listed: Collection[UUID],
    started_at: datetime,
    now: datetime,
    seen_by: str,
    actor: Actor,
) -> list[Deletion]:
    """Mark every settled deletion that a listing contradicts; the outcome is not rewritten.

    Only listings that began when it was settled, or later, count; one settled in the future was
    settled before the clock was set back. A 200 whose proof is still being looked for is left to
    that: Datadog's list may be a little behind. Call it inside a transaction.
    """
    is_settled_before = Q(settled_at__lte=started_at)
    if not clock.is_ahead(started_at, now=now):
        is_settled_before |= Q(settled_at__gt=now + clock.TOLERANCE)
    still_being_proved = Q(outcome=Outcome.DELETED, verified_at=None, due_at__isnull=False)
    contradicted = list(
        # Held before the first event is recorded: whoever holds one may wait to record another.
        Deletion.objects.select_for_update(no_key=True)
        .filter(
            is_settled_before,
            site=site,
            connection_id__in=listed,
            state=State.SETTLED,
            outcome__in=GONE_OUTCOMES,
            contradicted_at=None,
        )
        .exclude(still_being_proved)
        .order_by("pk")
    )
    for deletion in contradicted:
        mark(deletion=deletion, at=started_at, seen_by=seen_by, actor=actor)
    return contradicted


def mark(*, deletion: Deletion, at: datetime, seen_by: str, actor: Actor) -> None:
    """Set `contradicted_at` once, with its event. Call it inside a transaction."""
    marked = Deletion.objects.filter(pk=deletion.pk, contradicted_at=None).update(
        contradicted_at=at, last_checked_at=at, last_check_listed=True
    )
    if marked:
        audit.record(
            code=audit.EventCode.DELETION_CONTRADICTED,
            actor=actor,
            subject=deletion,
            # Which credential is for those who may see it: mails and pages of others say this too.
            sentence=f"Datadog still lists {deletion.description}.",
            details={"seen_by": seen_by, "outcome": deletion.outcome, "at": at.isoformat()},
        )
