"""Puts Org Admin on hold, says what it does once it is released, and releases it.

`change_requests/guards.py` says what a hold keeps back.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.access_requests.actions import pair_of
from connections.access_reviews import repeating
from connections.agreements.agreed import find_agreements
from connections.agreements.approved import find_grants, first_end
from connections.audit import EventCode
from connections.batches import confirming
from connections.change_requests.guards import ClockReading, read_clock
from connections.core import clock
from connections.core.errors import ConflictError
from connections.core.text import pluralize
from connections.core.typed_text import clean_text
from connections.models import (
    RUN_BY_BATCH,
    AccessRequest,
    AccessReview,
    Batch,
    BatchState,
    ChangeRequest,
    Deletion,
    Hold,
    State,
)
from connections.operations.clock_release import release_clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HeldWork:
    """The holds that are on, and what Org Admin does by itself soon after their release."""

    # While it is behind, that holds everything too.
    clock: ClockReading
    holds: list[Hold]
    # Access whose last day has passed, with that day.
    ends: list[tuple[AccessRequest, date]]
    # What is sent again, or the second step of a move.
    requests: list[ChangeRequest]
    # Those that are running, each with the number of rows to send.
    batches: list[tuple[Batch, int]]
    # The access reviews whose next one is started.
    reviews: list[AccessReview]

    @property
    def is_on(self) -> bool:
        """Whether anything can be released."""
        return bool(self.holds or self.clock.behind)

    @property
    def lines(self) -> list[str]:
        """A line for each."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        for end, day in self.ends:
            types = ", ".join(end.types_after)
            yield f"End of access on {day}: {end.description}, {types}"
        for request in self.requests:
            yield f"Send {request.label} again: {request.description}"
        for batch, count in self.batches:
            yield f"Send {pluralize(count, 'row')} of the bulk deletion {batch.pk}"
        for review in self.reviews:
            yield f"Start the next access review: {review.name}"

    @property
    def digest(self) -> str:
        """SHA-256 of all of it. A release names the digest of what the person has seen."""
        rows = [*self.holds, *self.requests, *self.reviews, *(end for end, _ in self.ends)]
        ids = (str(row.pk) for row in rows)
        newest_event = str(self.clock.newest_event_at if self.clock.behind else "")
        return hashlib.sha256("\n".join([newest_event, *ids, *self.lines]).encode()).hexdigest()


def find_held_work() -> HeldWork:
    """What waits for the release. Empty lists if nothing does."""
    now = clock.now()
    waiting_deletions = Deletion.objects.filter(~RUN_BY_BATCH, state=State.WAITING)
    waiting_requests = AccessRequest.objects.filter(state=State.WAITING)
    running = Batch.objects.filter(ended_at=None, state=BatchState.RUNNING)
    last_reviews = repeating.find_next_starts(repeating.find_last_repeating())
    return HeldWork(
        clock=read_clock(),
        holds=list(Hold.objects.filter(released_at=None)),
        ends=_find_ends(now=now),
        requests=[*waiting_deletions, *waiting_requests],
        batches=[(batch, confirming.count_to_send(batch)) for batch in running],
        reviews=[review for review, at in last_reviews if at and at <= now],
    )


def _find_ends(*, now: datetime) -> list[tuple[AccessRequest, date]]:
    due = list(AccessRequest.objects.filter(end_due_at__lte=now).order_by("end_due_at", "pk"))
    pairs = [pair_of(each) for each in due]
    grants, agreements = find_grants(pairs), find_agreements(pairs)
    days = [
        (each, first_end(each, agreements.get(pair)))
        for each, pair in zip(due, pairs, strict=True)
        if grants.get(pair) == each
    ]
    return [(each, day) for each, day in days if day and day < now.date()]


def put_on_hold(
    *, actor: Actor, reason: str, kind: Hold.Kind = Hold.Kind.BY_HAND, checkpoint: str = ""
) -> None:
    """Put Org Admin on hold. `checkpoint` is the note of the one that an older database lacks.

    Raises PermissionDenied, InvalidInputError, and ConflictError if a hold of this kind is on.
    """
    is_allowed = actor.kind == "worker" or permissions.can_administer(actor)
    permissions.require(is_allowed, "put Org Admin on hold")
    reason = clean_text(reason)
    try:
        with audit.atomic():
            hold = Hold.objects.create(
                kind=kind,
                reason=reason,
                checkpoint=checkpoint,
                put_on_at=clock.now(),
                put_on_by=actor.person,
            )
            audit.record(
                code=EventCode.SERVICE_HELD,
                actor=actor,
                subject=hold,
                sentence=audit.Sentence(
                    "{actor} put Org Admin on hold: it changes nothing by itself until an "
                    "administrator releases it. Reason: {reason}",
                    reason=reason,
                ),
                details={"kind": kind},
                rows={"hold": audit.row_of(hold)},
            )
    except IntegrityError:
        raise ConflictError("Org Admin is on hold already.") from None
    logger.warning("Org Admin is on hold until an administrator releases it. %s", reason)


def release_holds(*, actor: Actor, digest: str) -> None:
    """Release every hold that is on, if what waits for it is still what `digest` covers.

    If the database's clock is behind, work goes on from the time that it says.

    Raises PermissionDenied, and ConflictError if none is on or something else waits.
    """
    permissions.require(permissions.can_administer(actor), "release a hold")
    with audit.atomic():
        # Locked, so that it is released once.
        held = list(Hold.objects.select_for_update(no_key=True).filter(released_at=None))
        work = find_held_work()
        if not work.is_on:
            raise ConflictError("Org Admin isn't on hold.")
        if digest != work.digest:
            raise ConflictError("What waits for the release has changed. Read the list again.")
        release_clock(actor=actor)
        for hold in held:
            hold.released_at, hold.released_by = clock.now(), actor.person
            hold.save(update_fields=["released_at", "released_by"])
            audit.record(
                code=EventCode.SERVICE_RELEASED,
                actor=actor,
                subject=hold,
                sentence=audit.Sentence(
                    "{actor} released the hold: Org Admin acts by itself again."
                ),
                details={
                    "ends": len(work.ends),
                    "requests": len(work.requests),
                    "bulk_deletions": len(work.batches),
                    "access_reviews": len(work.reviews),
                },
                rows={"hold": audit.changed(hold, "released_at", "released_by", actor=actor)},
            )
