"""How far a bulk deletion is, and which bulk deletions wait for people."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batches
from connections.batches import drafts
from connections.batches.confirming import UNSENT
from connections.core import clock
from connections.models import RUN_BY_BATCH, SENDABLE, Approval, Batch, BatchRow, BatchState, State

# With fewer results, the remaining time can't be estimated.
MIN_RESULTS = 3


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Counts of the deletions of one bulk deletion."""

    total: int = 0
    # By outcome or, without one, by state.
    by_outcome: Counter[str] = field(default_factory=Counter)
    by_open_state: Counter[str] = field(default_factory=Counter)
    # Rows not sent yet, or to be sent again.
    unsent: int = 0
    # How long the rest takes at the rate so far. None while the rate is unknown.
    time_left: timedelta | None = None

    @property
    def sending(self) -> int:
        """How many DELETEs are in progress."""
        return self.by_open_state[State.SENDING]

    @property
    def done(self) -> int:
        """How many rows the bulk deletion is done with.

        A row with an unknown outcome can still be open.
        """
        return self.total - self.unsent - self.sending


def get_progress(batch: Batch) -> Progress:
    """The progress of a requested bulk deletion; empty for a draft. One query."""
    by_outcome, by_open_state = Counter[str](), Counter[str]()
    unsent = attempted = 0
    first_sent_at: list[datetime] = []
    groups = batch.deletions.order_by().values_list("state", "outcome")
    is_unsent = Q(RUN_BY_BATCH, state__in=UNSENT)
    # Only since it was last resumed, because a pause says nothing about the rate.
    is_sent = Q(sending_at__isnull=False)
    if batch.resumed_at:
        is_sent &= Q(sending_at__gte=batch.resumed_at)
    for state, outcome, count, waiting, sent, first in groups.annotate(
        Count("pk"),
        waiting=Count("pk", filter=is_unsent),
        sent=Count("pk", filter=is_sent),
        first=Min("sending_at", filter=is_sent),
    ):
        (by_outcome if outcome else by_open_state)[outcome or state] += count
        unsent += waiting
        attempted += sent
        first_sent_at += [first] if first else []
    total = by_outcome.total() + by_open_state.total()
    return Progress(
        total=total,
        by_outcome=by_outcome,
        by_open_state=by_open_state,
        unsent=unsent,
        time_left=_time_left(
            batch, unsent=unsent, attempted=attempted, began_at=min(first_sent_at, default=None)
        ),
    )


def _time_left(
    batch: Batch, *, unsent: int, attempted: int, began_at: datetime | None
) -> timedelta | None:
    is_known = batch.state == BatchState.RUNNING and attempted >= MIN_RESULTS
    if not is_known or began_at is None:
        return None
    elapsed = clock.elapsed_since(began_at, now=clock.now())
    return None if elapsed == timedelta.max else elapsed * unsent / attempted


_WAITING = (BatchState.REQUESTED, BatchState.APPROVED, BatchState.PAUSED)


def find_to_approve(*, actor: Actor, now: datetime) -> QuerySet[Batch]:
    """The bulk deletions that the actor can still approve: every row, and never their own."""
    person = actor.person
    if person is None or not permissions.can_approve_any(actor):
        return Batch.objects.none()
    unapprovable = permissions.visibility_of(actor).unapprovable
    rows = BatchRow.objects.filter(SENDABLE, batch=OuterRef("pk"))
    decided = Approval.objects.filter(deletion__batch=OuterRef("pk"), approver=person)
    waiting = visible_batches(actor=actor).filter(
        ~drafts.has_expired_in_query(now=now), state=BatchState.REQUESTED, ended_at=None
    )
    others = waiting.exclude(requested_by=person).exclude(created_by=person)
    if unapprovable:
        others = others.exclude(Exists(rows.filter(credential__in=unapprovable)))
    return others.exclude(Exists(decided))


def list_waiting_batches(*, actor: Actor, now: datetime) -> list[tuple[Batch, bool]]:
    """The bulk deletions that wait for someone, oldest first.

    Each with whether the actor can act.
    """
    batches = visible_batches(actor=actor).filter(state__in=_WAITING, ended_at=None)
    waiting = list(batches.order_by("created_at"))
    if not waiting:
        return []
    to_approve = set(find_to_approve(actor=actor, now=now).values_list("pk", flat=True))
    return [
        (batch, batch.pk in to_approve or can_continue(batch, actor=actor, now=now))
        for batch in waiting
    ]


def can_continue(batch: Batch, *, actor: Actor, now: datetime) -> bool:
    """Whether the actor can confirm it as its requester, or resume it."""
    if drafts.has_expired(batch, now=now):
        return False
    is_own = actor.person is not None and actor.person.pk == batch.requested_by_id
    is_next = batch.state == BatchState.PAUSED or (batch.state == BatchState.APPROVED and is_own)
    return is_next and permissions.can_use_all(actor, credential_ids=batch.sending_credential_ids)
