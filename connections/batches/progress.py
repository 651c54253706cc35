"""How far a bulk deletion is: counts of its rows by state and outcome, and the time left."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q

from connections.batches.confirming import UNSENT
from connections.core import clock
from connections.models import RUN_BY_BATCH, Batch, BatchState, State

# Fewer results say too little about the time left.
MIN_RESULTS = 3


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Counts of the deletions of one bulk deletion."""

    total: int = 0
    # By outcome, and by state for those without one.
    by_outcome: Counter[str] = field(default_factory=Counter)
    by_open_state: Counter[str] = field(default_factory=Counter)
    # Not sent so far, or to be sent again.
    unsent: int = 0
    # How long the rest takes at the rate so far; None while nothing is known of it.
    time_left: timedelta | None = None

    @property
    def sending(self) -> int:
        """How many DELETEs are in progress."""
        return self.by_open_state[State.SENDING]

    @property
    def done(self) -> int:
        """How many rows the bulk deletion has finished with; an unknown one may still be open."""
        return self.total - self.unsent - self.sending


def get_progress(batch: Batch) -> Progress:
    """The progress of a requested bulk deletion; empty for a draft. One query."""
    by_outcome, by_open_state = Counter[str](), Counter[str]()
    unsent = attempted = 0
    first_sent_at: list[datetime] = []
    groups = batch.deletions.order_by().values_list("state", "outcome")
    is_unsent = Q(RUN_BY_BATCH, state__in=UNSENT)
    # Since it was resumed last: a pause says nothing of the rate.
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
