"""Flags deletions that were closed as gone and whose connection a sync lists."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.models import (
    GONE_OUTCOMES,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    State,
    Sync,
)


def closed_as_gone(*, site: str, listed: Collection[UUID]) -> QuerySet[Deletion]:
    """The closed deletions that these listed connections contradict, whenever they were closed.

    A 200 that has not been verified yet is left out, because Datadog's list can lag.
    """
    awaiting_verification = Q(outcome=Outcome.DELETED, verified_at=None, due_at__isnull=False)
    return Deletion.objects.filter(
        site=site,
        connection_id__in=listed,
        state=State.SETTLED,
        outcome__in=GONE_OUTCOMES,
        contradicted_at=None,
    ).exclude(awaiting_verification)


def find_still_listed(deletions: QuerySet[Deletion]) -> QuerySet[Deletion]:
    """Those that were contradicted, and whose connection a credential in use lists now.

    Left out if a newer one of these deletions, of the same connection, awaits its outcome too.
    """
    same = {"site": OuterRef("site"), "connection_id": OuterRef("connection_id")}
    listed = OrgConnectionSnapshot.objects.filter(
        **same, is_current=True, credential__retired_at=None
    )
    awaiting = deletions.filter(
        **same, state__in=[State.UNKNOWN, State.STILL_PRESENT], settled_at=None
    )
    contradicted = deletions.filter(contradicted_at__isnull=False)
    return contradicted.filter(~Exists(awaiting), Exists(listed))


def flag_contradictions(*, sync: Sync, listed: Collection[UUID], actor: Actor) -> None:
    """Flag every closed deletion that a sync contradicts. The outcome is not rewritten.

    Only deletions that were closed before the sync began count. A deletion closed in the future
    was closed before the clock was set back. Call it in the transaction that stores the sync.
    """
    started_at, now = sync.started_at, sync.finished_at
    is_settled_before = Q(settled_at__lte=started_at) | Q(settled_at__gt=now + clock.TOLERANCE)
    closed = closed_as_gone(site=sync.credential.site, listed=listed).filter(is_settled_before)
    # Locked before the first event is recorded, to keep the lock order.
    for deletion in list(closed.select_for_update(no_key=True).order_by("pk")):
        flag_contradiction(
            deletion=deletion, at=started_at, listed_by=sync.credential.name, actor=actor
        )


def flag_contradiction(*, deletion: Deletion, at: datetime, listed_by: str, actor: Actor) -> None:
    """Set `contradicted_at` once, with its event. Call it inside a transaction."""
    marked = Deletion.objects.filter(pk=deletion.pk, contradicted_at=None).update(
        contradicted_at=at, last_checked_at=at, last_check_listed=True
    )
    if marked:
        audit.record(
            code=audit.EventCode.DELETION_CONTRADICTED,
            actor=actor,
            subject=deletion,
            # Without the credential's name, because people who can't see the credential read this
            # too.
            sentence=audit.Sentence(
                "Datadog still lists {connection}.",
                connection=deletion.description,
            ),
            details={"seen_by": listed_by, "outcome": deletion.outcome, "at": at.isoformat()},
            rows={
                "deletion": audit.changes_of(Deletion, values={"contradicted_at": at}, actor=actor)
            },
        )
