"""Every state change of a request: the transitions, and the functions that apply them.

A change is a compare-and-swap on the state and the epoch, in one transaction with its event. So two
processes can't both change a request, and a process that was paused can't overwrite what others
did in the meantime.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.change_requests.actions import action_of
from connections.change_requests.transition import Transition
from connections.core import clock, time_limits
from connections.core.causes import Cause
from connections.core.errors import OvertakenError
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.models import (
    ApprovalFields,
    ApprovalPolicy,
    ChangeRequest,
    CommonOutcome,
    State,
    Step,
)

MOVED_ON = "The status just changed, so your action wasn't recorded."
# What must be unchanged since the request was read.
_COMPARED = (
    "state",
    "epoch",
    # When two people confirm at the same time, only the first succeeds.
    "confirmed_at",
    # Prevents acting on approvals that have just been declined or have just lapsed.
    "approval_round",
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A complete list that counts: when its sync began, and what it showed."""

    at: datetime
    is_listed: bool
    # The outcome that it would end an unknown result as. "" if it shows no effect.
    finding: str
    # The columns that it sets then.
    connection_columns: dict[str, Any] = field(default_factory=dict)


def new_state(state: str, *, cause: str = "", **others: Any) -> dict[str, Any]:
    """The columns of a change to this state."""
    return {"state": state, "cause": cause, "cause_details": {}} | others


def _check_columns(change_request: ChangeRequest, check: Check | None) -> dict[str, Any]:
    if check is None:
        return {}
    columns = change_request.check_columns(is_listed=check.is_listed, finding=check.finding)
    return {"last_checked_at": check.at} | columns


@dataclass(frozen=True, kw_only=True)
class Approve(Transition):
    """One more person approved, at `at`. `missing` is how many others must still approve."""

    missing: int
    at: datetime

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        until = self.at + time_limits.CONFIRMING_WINDOW
        has_no_effect = change_request.has_no_effect
        if self.missing and has_no_effect:
            # The first approval after the previous ones lapsed or were declined starts a window.
            return {
                "expires_at": change_request.expires_at or self.at + time_limits.APPROVAL_WINDOW
            }
        if self.missing:
            return new_state(State.REQUESTED)
        approved: dict[str, Any] = {"approved_at": self.at, "expires_at": until}
        # While it is still present, checks with Datadog continue, so its `due_at` stays.
        return approved if has_no_effect else new_state(State.APPROVED, due_at=until, **approved)


@dataclass(frozen=True)
class EndRound(Transition):
    """The approvals of a request without effect no longer count.

    The first approval of the new round starts its window.
    """

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        return {"approval_round": change_request.approval_round + 1, "expires_at": None}


@dataclass(frozen=True, kw_only=True)
class Confirm(Transition):
    """The actor confirmed it, at `at`."""

    at: datetime

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        return {
            "cause": "",
            "cause_details": {},
            "confirmed_at": self.at,
            "confirmed_by": actor.person,
            "confirmed_by_name": actor.name,
        }


@dataclass(frozen=True, kw_only=True)
class FailRecheck(Transition):
    """The pre-send check failed and the state stays.

    `due_at` is when to retry, if automatically.
    """

    details: dict[str, object]
    due_at: datetime | None = None

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        due = {"due_at": self.due_at} if self.due_at else {}
        return {"cause": Cause.LISTING_FAILED, "cause_details": self.details} | due


@dataclass(frozen=True, kw_only=True)
class StartSending(Transition):
    """One process claims it, to send the attempt of the next epoch."""

    at: datetime

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        claimed = change_request.no_check_columns | new_state(
            State.SENDING,
            epoch=change_request.epoch + 1,
            sending_at=self.at,
            due_at=self.at + time_limits.CLAIM_TIMEOUT,
            last_checked_at=None,
        )
        if change_request.is_run_by_batch and not change_request.epoch:
            claimed["expires_at"] = self.at + time_limits.SENDING_WINDOW
        return claimed


@dataclass(frozen=True, kw_only=True)
class Wait(Transition):
    """Nothing was changed. It is sent again `seconds` after `at`, within the sending window."""

    step = Step.WAITING
    cause: str
    seconds: int
    at: datetime
    # How long its org is held back for a rate limit.
    reset_seconds: int = 0
    # When the time of a bulk deletion's row ends, counted from its first attempt.
    expires_at: datetime | None = None

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        # Before the clock was set back, it might have said a later time.
        confirmed_at = min(change_request.sending_window_at or self.at, self.at)
        expires_at = confirmed_at + time_limits.SENDING_WINDOW
        if change_request.is_run_by_batch and self.expires_at:
            expires_at = self.expires_at
            if self.reset_seconds:
                resets_at = self.at + timedelta(seconds=self.reset_seconds)
                extended = resets_at + time_limits.SENDING_WINDOW
                queue_ends_at = confirmed_at + time_limits.QUEUE_WINDOW
                expires_at = max(expires_at, min(extended, queue_ends_at))
        due_at = min(self.at + timedelta(seconds=self.seconds), expires_at)
        return new_state(State.WAITING, cause=self.cause, due_at=due_at, expires_at=expires_at)


@dataclass(frozen=True, kw_only=True)
class BecomeUnknown(Transition):
    """An attempt might have worked. `due_at` is when to check; without one, it stays unchanged."""

    step = Step.UNKNOWN
    cause: str
    due_at: datetime | None = None

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        columns = new_state(State.UNKNOWN, cause=self.cause, expires_at=None)
        columns |= change_request.round_in(State.UNKNOWN)
        return columns | ({"due_at": self.due_at} if self.due_at else {})


@dataclass(frozen=True, kw_only=True)
class BecomeNoEffect(Transition):
    """Two complete lists agree that an attempt with an unknown result had no effect."""

    check: Check
    due_at: datetime

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        needs_approval = change_request.policy != ApprovalPolicy.NONE
        return new_state(
            change_request.no_effect,
            cause=Cause.LISTINGS_AGREE,
            expires_at=clock.now() + time_limits.APPROVAL_WINDOW if needs_approval else None,
            due_at=self.due_at,
            **change_request.round_in(change_request.no_effect),
            **_check_columns(change_request, self.check),
        )


@dataclass(frozen=True, kw_only=True)
class RecordCheck(Transition):
    """A check with Datadog decided nothing. `check` is None if it doesn't count either."""

    details: dict[str, object]
    due_at: datetime
    check: Check | None

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        details = change_request.cause_details | {"last_check": self.details}
        checked = _check_columns(change_request, self.check)
        return {"cause_details": details, "due_at": self.due_at} | checked


@dataclass(frozen=True, kw_only=True)
class Settle(Transition):
    """Close it. `reason` is what a person typed, `details` what Datadog said about the cause.

    `due_at` is when the worker should check it against Datadog's lists.
    """

    # Used unless a person decided it.
    step = Step.SETTLED
    outcome: str
    cause: str = ""
    reason: str = ""
    details: dict[str, object] = field(default_factory=dict)
    check: Check | None = None
    due_at: datetime | None = None
    # When it was closed. Without a time, it is closed now.
    at: datetime | None = None
    # The columns that a response or a list sets.
    connection_columns: dict[str, Any] = field(default_factory=dict)

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        return new_state(
            State.SETTLED,
            outcome=self.outcome,
            cause=self.cause,
            cause_details=self.details,
            settled_at=self.at or clock.now(),
            settled_by_name=actor.name,
            settled_reason=self.reason,
            due_at=self.due_at,
            expires_at=None,
            **_check_columns(change_request, self.check),
            **self.connection_columns,
        )


def transition_for(
    *,
    change_request: ChangeRequest,
    response: WriteResponse,
    now: datetime,
    was_ambiguous: bool,
    times_not_sent: int,
    had_late_success: bool = False,
) -> Settle | Wait | BecomeUnknown:
    """What follows from the response to one attempt, recorded at `now`.

    `was_ambiguous` means that an earlier attempt might have worked. `times_not_sent` is how often
    the request could not leave since it was confirmed, including this time. `had_late_success`
    means that Datadog returned a late 200 to an earlier attempt, so that a list can prove that it
    worked.
    """
    cause = response.cause or ""
    unknown = BecomeUnknown(
        cause=cause, due_at=next_check_at(sending_at=change_request.sending_at or now, now=now)
    )
    match response.verdict:
        case AttemptResult.RATE_LIMITED:
            limit = response.rate_limit
            return Wait(
                cause=cause,
                seconds=response.retry_after_seconds or 60,
                at=now,
                reset_seconds=limit.reset_seconds if limit else 0,
                expires_at=change_request.expires_at,
            )
        case AttemptResult.NOT_SENT if times_not_sent <= len(time_limits.NOT_SENT_DELAYS):
            return Wait(
                cause=cause,
                seconds=time_limits.NOT_SENT_DELAYS[times_not_sent - 1],
                at=now,
                expires_at=change_request.expires_at,
            )
        case AttemptResult.NOT_SENT:
            return stop_trying(
                cause=Cause.TOO_MANY_TRIES, was_ambiguous=was_ambiguous, due_at=unknown.due_at
            )
        case AttemptResult.AMBIGUOUS:
            return unknown
    action = action_of(change_request)
    outcome = action.outcome_of(
        response.verdict, was_ambiguous=was_ambiguous, had_late_success=had_late_success
    )
    if outcome is None:
        return unknown
    if outcome == action.success:
        item = action.find_in_response(change_request, response)
        columns = action.columns_from(change_request, item)
        return Settle(outcome=outcome, due_at=now, at=now, connection_columns=columns)
    is_compared = outcome in action.checked_outcomes and not was_ambiguous
    due_at = now if is_compared else None
    return Settle(outcome=outcome, cause=cause, due_at=due_at)


def stop_trying(
    *, cause: str, was_ambiguous: bool, due_at: datetime | None = None
) -> Settle | BecomeUnknown:
    """Close as `not_sent`, or become unknown if an earlier attempt might have worked.

    `due_at` is when to check an unknown one.
    """
    if was_ambiguous:
        return BecomeUnknown(cause=cause, due_at=due_at)
    return Settle(outcome=CommonOutcome.NOT_SENT, cause=cause)


def apply(
    change_request: ChangeRequest,
    *,
    transition: Transition,
    actor: Actor,
    events: Sequence[audit.EventDraft],
) -> bool:
    """Change a request that is unchanged since it was read, and record the events.

    Returns False, with nothing changed except the object, when another process changed it first.
    """
    is_changed = _compare_and_swap(
        [change_request], transition=transition, actor=actor, events_of=lambda _: events
    )
    if not is_changed:
        change_request.refresh_from_db()
    return is_changed


def apply_to_all[R: ChangeRequest](
    change_requests: Sequence[R],
    *,
    transition: Transition,
    actor: Actor,
    events_of: Callable[[R], Sequence[audit.EventDraft]],
) -> None:
    """Change all of these requests, each with its events. Call it in a transaction.

    Raises OvertakenError, so that none is changed, when another process changed one of them first.
    """
    if not _compare_and_swap(
        change_requests, transition=transition, actor=actor, events_of=events_of
    ):
        raise OvertakenError(MOVED_ON)


def lock_unchanged[R: ChangeRequest](change_requests: Sequence[R]) -> list[R]:
    """Lock these requests and return those that are unchanged since they were read.

    The others are read again. Call it in a transaction.
    """
    if not change_requests:
        return []
    rows = type(change_requests[0])._default_manager.select_for_update(no_key=True)
    read = rows.filter(pk__in=[change_request.pk for change_request in change_requests])
    # In a fixed order, so that two processes don't wait for each other.
    locked = read.order_by("pk").values_list("pk", *_COMPARED)
    stored = {pk: compared for pk, *compared in locked}
    unchanged = []
    for change_request in change_requests:
        if stored[change_request.pk] == [getattr(change_request, name) for name in _COMPARED]:
            unchanged.append(change_request)
        else:
            change_request.refresh_from_db()
    return unchanged


def apply_or_refuse(
    change_request: ChangeRequest,
    *,
    transition: Transition,
    actor: Actor,
    events: Sequence[audit.EventDraft],
) -> None:
    """`apply`, but raise OvertakenError if another process was first, so that the person knows."""
    if not apply(change_request, transition=transition, actor=actor, events=events):
        raise OvertakenError(MOVED_ON)


def _compare_and_swap[R: ChangeRequest](
    change_requests: Sequence[R],
    *,
    transition: Transition,
    actor: Actor,
    events_of: Callable[[R], Sequence[audit.EventDraft]],
) -> bool:
    """Change these requests, record their events and set the new values on the objects.

    Those that agree in everything compared are changed together, so the values that a transition of
    several requests sets can't depend on anything else. Stops, and returns False, where another
    process was first.
    """
    alike = defaultdict[tuple[Any, ...], list[R]](list)
    for change_request in change_requests:
        alike[tuple(getattr(change_request, name) for name in _COMPARED)].append(change_request)
    with audit.atomic(savepoint=False):
        for compared, group in alike.items():
            columns = transition.columns(change_request=group[0], actor=actor)
            unchanged = type(group[0])._default_manager.filter(
                # A settled request never changes its state again.
                ~Q(state=State.SETTLED),
                pk__in=[change_request.pk for change_request in group],
                **dict(zip(_COMPARED, compared, strict=True)),
            )
            if unchanged.update(**columns) != len(group):
                return False
            for change_request in group:
                for name, value in columns.items():
                    setattr(change_request, name, value)
                _record(
                    events_of(change_request),
                    change_request=change_request,
                    columns=columns,
                    actor=actor,
                )
                if "state" in columns:
                    action_of(change_request).after_transition(change_request, actor=actor)
    return True


def _record(
    events: Sequence[audit.EventDraft],
    *,
    change_request: ChangeRequest,
    columns: dict[str, Any],
    actor: Actor,
) -> None:
    model = type(change_request)
    rows: audit.Rows = {model.noun: audit.changes_of(model, values=columns, actor=actor)}
    state = {name: getattr(change_request, name) for name in model.event_details}
    state["cause"] = change_request.reported_cause
    for event in events:
        audit.record(
            code=event.code,
            actor=actor,
            sentence=event.sentence,
            subject=change_request,
            # An event about a sync names its own cause, which the request's cause must not hide.
            details=state | event.details,
            rows=rows | event.rows,
        )
        # The first event has what the transition set.
        rows = {}


def next_verification_at(*, settled_at: datetime, now: datetime) -> datetime | None:
    """When to list again for a 200 that no list has confirmed yet. None after the last time."""
    times = (settled_at + after for after in time_limits.VERIFICATION_AT)
    return next((at for at in times if at > now), None)


def next_check_at(*, sending_at: datetime, now: datetime) -> datetime:
    """When to check an unknown outcome again: soon at first, hourly after the first hour."""
    first = sending_at + time_limits.FIRST_CHECK_DELAY
    if now < first:
        return first
    age = now - sending_at
    if age < timedelta(minutes=5):
        return now + time_limits.SECOND_CHECK_DELAY
    return now + (timedelta(minutes=5) if age < timedelta(hours=1) else timedelta(hours=1))


def is_being_rechecked(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Whether it was just confirmed and its pre-send check is still running.

    `now` is the database's time. The result of the check sets a cause or another state.
    """
    is_confirmable = (
        change_request.state == State.APPROVED
        or change_request.has_no_effect
        or (change_request.state == State.REQUESTED and not change_request.needs_approval)
    )
    if not is_confirmable or change_request.cause or change_request.confirmed_at is None:
        return False
    return clock.elapsed_since(change_request.confirmed_at, now=now) < time_limits.RECHECK_WINDOW


def has_expired(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Whether the time for approving, confirming or sending it has passed."""
    return change_request.expires_at is not None and change_request.expires_at <= now


def is_queued(change_request: ChangeRequest) -> bool:
    """Whether its bulk deletion is confirmed but the worker hasn't started to send it."""
    return (
        change_request.is_run_by_batch
        and change_request.state == State.WAITING
        and not change_request.epoch
    )


def approvals_needed(change_request: ChangeRequest) -> int:
    """How many other people must approve the next attempt."""
    needed = ApprovalPolicy(change_request.policy).approvals_needed
    return needed if change_request.needs_approval else 0


def approvals_given(change_request: ChangeRequest) -> QuerySet[ApprovalFields]:
    """The approvals that count for the next attempt. Reads the database at each use."""
    return change_request.approvals.filter(
        decision=ApprovalFields.Decision.APPROVED,
        digest=change_request.approval_digest,
        round=change_request.approval_round,
    )


def can_be_approved(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Whether it waits for another person's approval and has not expired."""
    # A request without effect never expires; its window has already been renewed.
    is_over = change_request.state == State.REQUESTED and has_expired(change_request, now=now)
    return is_awaiting_approval(change_request) and not is_over


def have_approvals_expired(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Whether the approvals of another attempt expired. A new approval starts a new round."""
    return change_request.has_no_effect and has_expired(change_request, now=now)


def is_awaiting_approval(change_request: ChangeRequest) -> bool:
    """Whether the next step is another person's approval."""
    if change_request.has_no_effect:
        return change_request.lacks_approvals
    return change_request.state == State.REQUESTED and change_request.needs_approval
