"""Ends bulk deletions that expire or have no more rows to send."""

from collections import Counter

from django.db.models import Count, Exists, OuterRef, Q

from connections import audit
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.batches import confirming, drafts, stopping
from connections.change_requests import states
from connections.change_requests.states import Settle
from connections.core import clock
from connections.core.causes import Cause, cause_text
from connections.core.text import pluralize
from connections.models import (
    RUN_BY_BATCH,
    Batch,
    BatchState,
    Deletion,
    Outcome,
    State,
)

_EXPIRING = (BatchState.DRAFT, BatchState.REQUESTED, BatchState.APPROVED)
# The rows that a bulk deletion still has to send or is sending.
_UNFINISHED = Q(RUN_BY_BATCH, state__in=[*confirming.UNSENT, State.SENDING], settled_at=None)


def end_due(*, actor: Actor, batch: Batch | None = None) -> list[Batch]:
    """End the bulk deletions that expired or have finished. Return them. Raises DatabaseError.

    `batch` limits this to one.
    """
    unfinished = Deletion.objects.filter(_UNFINISHED, batch=OuterRef("pk"))
    ended: list[Batch] = []
    batches = Batch.objects.filter(ended_at=None, **({"pk": batch.pk} if batch else {}))
    for row in batches.annotate(has_unfinished=Exists(unfinished)):
        is_done = row.state != BatchState.DRAFT and not row.has_unfinished
        if is_done or (row.state in _EXPIRING and drafts.has_expired(row, now=clock.now())):
            ended += [row] if _end(row, actor=actor) else []
    return ended


def _end(batch: Batch, *, actor: Actor) -> bool:
    with audit.atomic():
        drafts.lock_batch(batch)
        if batch.has_ended:
            return False
        if batch.state in _EXPIRING and drafts.has_expired(batch, now=clock.now()):
            _expire(batch, actor=actor)
            return True
        if batch.state == BatchState.DRAFT or batch.deletions.filter(_UNFINISHED).exists():
            return False
        _finish(batch, actor=actor)
    return True


def _expire(batch: Batch, *, actor: Actor) -> None:
    is_draft, is_approved = batch.state == BatchState.DRAFT, batch.state == BatchState.APPROVED
    cause = Cause.NOT_CONFIRMED_IN_TIME if is_approved else Cause.NOT_APPROVED_IN_TIME
    rows = confirming.lock_unsent(batch)
    states.apply_to_all(
        rows,
        transition=Settle(outcome=Outcome.EXPIRED, cause=cause),
        actor=actor,
        events_of=lambda deletion: [
            audit.EventDraft(
                code=EventCode.DELETION_SETTLED,
                sentence=audit.Sentence(
                    "The deletion of {connection} ran out of time. {why} {facts}",
                    connection=deletion.description,
                    why=cause_text(cause),
                    facts=stopping.attempts_text(deletion),
                ),
            )
        ],
    )
    batch.end(state=BatchState.EXPIRED, at=clock.now(), by_name=actor.name)
    if is_draft:
        # Nothing was requested, so there is nothing to record.
        return
    audit.record(
        code=EventCode.BATCH_EXPIRED,
        actor=actor,
        subject=batch,
        sentence=audit.Sentence(
            "The bulk deletion of {connections} ran out of time. {why} Nothing was sent.",
            connections=pluralize(len(rows), "connection"),
            why=cause_text(cause),
        ),
        details={"cause": cause, "count": len(rows)},
        rows={"batch": audit.changed(batch, *Batch.END_COLUMNS, actor=actor)},
    )


def _finish(batch: Batch, *, actor: Actor) -> None:
    batch.end(state=BatchState.FINISHED, at=clock.now(), by_name=actor.name)
    counts = Counter[str]()
    for state, outcome, count in (
        batch.deletions.order_by().values_list("state", "outcome").annotate(Count("pk"))
    ):
        counts[Outcome(outcome).label if outcome else State(state).label] += count
    audit.record(
        code=EventCode.BATCH_FINISHED,
        actor=actor,
        subject=batch,
        sentence=audit.Sentence(
            "The bulk deletion of {connections} finished: {results}.",
            connections=pluralize(counts.total(), "connection"),
            results=", ".join(
                f"{count:,} {label.lower()}" for label, count in counts.most_common()
            ),
        ),
        details={"counts": dict(counts)},
        rows={"batch": audit.changed(batch, *Batch.END_COLUMNS, actor=actor)},
    )
