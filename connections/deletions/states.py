"""The one place where a deletion changes its state, and the table that says to which.

Every change is a compare-and-swap on (state, epoch) together with its event: two processes cannot
both move a deletion, and a process that was frozen cannot overwrite what others did meanwhile.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import Cause
from connections.datadog.responses import AttemptResult
from connections.models import Approval, ApprovalPolicy, Deletion, Outcome, State

# The longest that anything stays open without an act of a person.
APPROVAL_WINDOW = timedelta(hours=24)
CONFIRMING_WINDOW = timedelta(hours=24)
SENDING_WINDOW = timedelta(minutes=15)
# The window that `expires_at` ends, by state.
EXPIRES_WITHIN = {
    State.REQUESTED: APPROVAL_WINDOW,
    State.APPROVED: CONFIRMING_WINDOW,
    State.WAITING: SENDING_WINDOW,
    State.STILL_PRESENT: APPROVAL_WINDOW,
}
# A claim without an answer is lost after this; the DELETE's own deadline is 30 s.
CLAIM_TIMEOUT = timedelta(seconds=60)
# The reading before a sending is over by then, in whatever process it runs, or that process died.
RECHECK_WINDOW = timedelta(seconds=45)
# A listing counts for an unknown from here on: the deadline of the DELETE and some slack.
FIRST_CHECK_DELAY = timedelta(seconds=35)
SECOND_CHECK_DELAY = timedelta(seconds=60)
# After a request that never left: how long to wait before the next of five tries.
NOT_SENT_DELAYS = (5, 15, 60, 300)
# After a 200: when the credential lists again; a connection still listed at or after the third
# look contradicts the answer, the later ones only serve a listing that failed.
VERIFICATION_AT = tuple(
    timedelta(seconds=seconds) for seconds in (60, 300, 900, 3600, 6 * 3600, 86400)
)
CONTRADICTED_AFTER = timedelta(minutes=5)
# Each event repeats those of these times that are set with it, so that a verification can compare
# them to the microsecond.
_TIMES = ("confirmed_at", "approved_at", "sending_at", "settled_at", "break_glass_at")
# The furthest ahead that `due_at` is ever set where nothing expires, by state.
DUE_WITHIN = {
    State.SENDING: CLAIM_TIMEOUT,
    State.UNKNOWN: timedelta(hours=1),
    State.STILL_PRESENT: timedelta(hours=1),
    State.SETTLED: VERIFICATION_AT[-1],
}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """Where a deletion goes, and why."""

    state: State
    outcome: Outcome | None = None
    cause: str = ""
    wait_seconds: int | None = None


def transition_for(
    *,
    verdict: AttemptResult,
    cause: str,
    retry_after_seconds: int | None,
    was_ambiguous: bool,
    times_not_sent: int,
    had_late_success: bool = False,
) -> Transition:
    """The row of the life's table for what came back from one sending.

    `was_ambiguous`: an earlier attempt may have been carried out. `times_not_sent`: how often,
    this time included, the request could not leave since it was confirmed. `had_late_success`:
    Datadog returned 200 late to an earlier one, so that a listing can settle it as deleted.
    """
    match verdict:
        case AttemptResult.DELETED:
            return Transition(state=State.SETTLED, outcome=Outcome.DELETED)
        case AttemptResult.NOT_FOUND if had_late_success:
            return Transition(state=State.UNKNOWN, cause=cause)
        case AttemptResult.NOT_FOUND:
            outcome = Outcome.GONE_UNATTRIBUTED if was_ambiguous else Outcome.ALREADY_ABSENT
            return Transition(state=State.SETTLED, outcome=outcome, cause=cause)
        case AttemptResult.REFUSED if was_ambiguous:
            return Transition(state=State.UNKNOWN, cause=cause)
        case AttemptResult.REFUSED:
            return Transition(state=State.SETTLED, outcome=Outcome.REFUSED, cause=cause)
        case AttemptResult.RATE_LIMITED:
            return Transition(state=State.WAITING, cause=cause, wait_seconds=retry_after_seconds)
        case AttemptResult.NOT_SENT if times_not_sent <= len(NOT_SENT_DELAYS):
            delay = NOT_SENT_DELAYS[times_not_sent - 1]
            return Transition(state=State.WAITING, cause=cause, wait_seconds=delay)
        case AttemptResult.NOT_SENT:
            return stop_trying(cause=Cause.TOO_MANY_TRIES, was_ambiguous=was_ambiguous)
        case AttemptResult.AMBIGUOUS:
            return Transition(state=State.UNKNOWN, cause=cause)


def stop_trying(*, cause: str, was_ambiguous: bool) -> Transition:
    """Stop trying: `not_sent`, unless an earlier attempt may have been carried out."""
    if was_ambiguous:
        return Transition(state=State.UNKNOWN, cause=cause)
    return Transition(state=State.SETTLED, outcome=Outcome.NOT_SENT, cause=cause)


@dataclass(frozen=True, kw_only=True)
class EventDraft:
    """The event that goes with a change."""

    code: audit.EventCode
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)


def apply(
    *, deletion: Deletion, actor: Actor, to: Transition, notes: list[EventDraft], **values: Any
) -> bool:
    """Move a deletion from the state and epoch it was read in; record it; refresh the object.

    Returns False, having changed nothing but the object, when somebody else moved it first.
    `values` are further fields to set in the same statement.
    """
    fields = _fields_of(deletion, to=to, actor=actor) | values
    times = {name: fields[name].isoformat() for name in _TIMES if fields.get(name)}
    with audit.atomic():
        moved = (
            Deletion.objects.filter(pk=deletion.pk, state=deletion.state, epoch=deletion.epoch)
            # Of two confirmations at once only the first passes, and nothing leaves settled.
            .filter(confirmed_at=deletion.confirmed_at)
            # Nobody acts on approvals that were declined or lapsed a moment ago.
            .filter(approval_round=deletion.approval_round)
            .exclude(state=State.SETTLED)
        ).update(**fields)
        if moved:
            for note in notes:
                audit.record(
                    code=note.code,
                    actor=actor,
                    sentence=note.sentence,
                    subject=deletion,
                    # A note about a reading names its own cause; the deletion's must not hide it.
                    details={"state": to.state, "outcome": to.outcome or "", "cause": to.cause}
                    | times
                    | note.details,
                )
    deletion.refresh_from_db()
    return bool(moved)


def _fields_of(deletion: Deletion, *, to: Transition, actor: Actor) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "state": to.state,
        "outcome": to.outcome or "",
        "cause": to.cause,
        "cause_details": {},
    }
    if to.state == State.SETTLED:
        now = clock.now()
        fields |= {
            "settled_at": now,
            "settled_by_name": actor.name,
            "due_at": next_verification_at(settled_at=now, now=now)
            if to.outcome == Outcome.DELETED
            else None,
        }
    if to.state in {State.SETTLED, State.UNKNOWN}:
        fields["expires_at"] = None
    if to.state == State.UNKNOWN and deletion.state != State.UNKNOWN:
        # The approvals were for the sending that ended like this.
        fields["approval_round"] = deletion.approval_round + 1
    if to.state == State.STILL_PRESENT and deletion.state != State.STILL_PRESENT:
        needs_approval = deletion.policy != ApprovalPolicy.NONE
        fields["expires_at"] = clock.now() + APPROVAL_WINDOW if needs_approval else None
    return fields


def next_verification_at(*, settled_at: datetime, now: datetime) -> datetime | None:
    """When to list again for a 200 that no listing has borne out yet; None after the last."""
    due_at = next(
        (settled_at + after for after in VERIFICATION_AT if settled_at + after > now), None
    )
    # Settled by a clock that was ahead, it must not wait until then.
    return min(due_at, now + VERIFICATION_AT[-1]) if due_at else None


def next_check_at(*, sending_at: datetime, now: datetime) -> datetime:
    """When to look at an unknown again: soon at first, hourly after the first hour."""
    if clock.is_ahead(sending_at, now=now):
        return now + FIRST_CHECK_DELAY
    first = sending_at + FIRST_CHECK_DELAY
    if now < first:
        return first
    age = now - sending_at
    if age < timedelta(minutes=5):
        return now + SECOND_CHECK_DELAY
    return now + (timedelta(minutes=5) if age < timedelta(hours=1) else timedelta(hours=1))


def is_being_rechecked(deletion: Deletion, *, now: datetime) -> bool:
    """Whether it was just confirmed and is read once more before anything is sent.

    `now` is the database's time. What the reading finds gives it a cause or another state.
    """
    is_confirmable = deletion.state in {State.APPROVED, State.STILL_PRESENT} or (
        deletion.state == State.REQUESTED and not deletion.needs_approval
    )
    if not is_confirmable or deletion.cause or deletion.confirmed_at is None:
        return False
    return clock.elapsed_since(deletion.confirmed_at, now=now) < RECHECK_WINDOW


def has_expired(deletion: Deletion, *, now: datetime) -> bool:
    """Whether the time for approving, confirming or sending it is over."""
    window = EXPIRES_WITHIN.get(State(deletion.state), APPROVAL_WINDOW)
    return deletion.expires_at is not None and clock.has_passed(
        deletion.expires_at, within=window, now=now
    )


def sending_began(deletion: Deletion, *, now: datetime) -> datetime:
    """When the sending had certainly begun, by the clock as it runs now."""
    return _happened_by(
        deletion, at=deletion.sending_at, code=audit.EventCode.DELETION_SENDING, now=now
    )


def settling_happened(deletion: Deletion, *, now: datetime) -> datetime:
    """When it had certainly settled, by the clock as it runs now."""
    return _happened_by(
        deletion, at=deletion.settled_at, code=audit.EventCode.DELETION_SETTLED, now=now
    )


def _happened_by(
    deletion: Deletion, *, at: datetime | None, code: audit.EventCode, now: datetime
) -> datetime:
    """`at`, unless it lies in the future.

    Then it is the time of the first event recorded after `code` by a clock that is not ahead, or
    `now` when there is none yet: never earlier than it really happened.
    """
    at = at or now
    if not clock.is_ahead(at, now=now):
        return at
    happened_by = now
    for event in reversed(audit.events_of(subject=deletion)):
        if event.code == code or clock.is_ahead(event.at, now=now):
            break
        happened_by = event.at
    return happened_by


def approvals_needed(deletion: Deletion) -> int:
    """How many other people must approve the next sending; none where break glass applies."""
    return ApprovalPolicy(deletion.policy).approvals_needed if deletion.needs_approval else 0


def next_round(deletion: Deletion) -> dict[str, Any]:
    """The fields of one still present whose approvals no longer count: a round without a window.

    The first approval of the new round begins its window.
    """
    return {
        "approval_round": deletion.approval_round + 1,
        "expires_at": None,
        "cause_details": deletion.cause_details,
    }


def approvals_given(deletion: Deletion) -> QuerySet[Approval]:
    """The approvals that count for the next sending, read from the database at each use."""
    return deletion.approvals.filter(
        decision=Approval.Decision.APPROVED,
        digest=deletion.approval_digest,
        round=deletion.approval_round,
    )


def awaits_approval(deletion: Deletion) -> bool:
    """Whether the next step is another person's yes or no."""
    if deletion.state == State.STILL_PRESENT:
        return deletion.lacks_approvals
    return deletion.state == State.REQUESTED and deletion.needs_approval
