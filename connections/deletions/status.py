"""Where a deletion is now or how it ended, and the next steps that this allows."""

from datetime import datetime
from enum import StrEnum

from connections.change_requests import states
from connections.core.causes import Cause
from connections.core.text import format_time
from connections.models import OPEN_STATES, ChangeRequest, Deletion, Outcome, State


class NextStep(StrEnum):
    """A step that a deletion's page can offer, if the person's roles and the state allow it."""

    CONFIRM = "confirm"  # enter the confirmation and send
    APPROVE = "approve"
    DECLINE = "decline"
    BREAK_GLASS = "break_glass"  # send without the missing approvals
    WITHDRAW = "withdraw"
    CHECK = "check"  # sync now and check the outcome
    CLOSE = "close"  # close it as unresolved
    REQUEST_AGAIN = "request_again"  # a new request with the same reason


class DeletionStatus(StrEnum):
    """Where a deletion is now, or how it ended. `texts.py` has what each one says."""

    NEEDS_APPROVAL = "needs_approval"
    NEEDS_CONFIRMATION = "needs_confirmation"
    APPROVED = "approved"
    CHECKING = "checking"
    CONFIRMED = "confirmed"
    CHECK_FAILED = "check_failed"
    SENDING = "sending"
    RATE_LIMITED = "rate_limited"
    QUEUED = "queued"
    RETRYING = "retrying"
    UNKNOWN = "unknown"
    NO_EFFECT = "no_effect"
    DELETED = "deleted"
    DELETED_VERIFYING = "deleted_verifying"
    DELETED_UNVERIFIED = "deleted_unverified"
    STILL_LISTED = "still_listed"
    REAPPEARED = "reappeared"
    GONE_LATER = "gone_later"
    NOT_FOUND = "not_found"
    ALREADY_GONE = "already_gone"
    NOT_LISTED = "not_listed"
    GONE_UNPROVEN = "gone_unproven"
    FAILED = "failed"
    NOT_SENT = "not_sent"
    # The same outcome after an attempt, for which “Not sent” would be false.
    GAVE_UP = "gave_up"
    CHANGED = "changed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    UNRESOLVED = "unresolved"


class OutcomeGroup(StrEnum):
    """How a deletion ended or where it is, coarsely: one part of a bulk deletion's progress bar."""

    DELETED = "deleted"
    GONE = "gone"  # gone or not found, without proof that Org Admin deleted it
    REFUSED = "refused"
    NOTHING_SENT = "nothing_sent"
    UNKNOWN = "unknown"
    OPEN = "open"


GROUP_OF = {
    Outcome.DELETED: OutcomeGroup.DELETED,
    Outcome.ALREADY_ABSENT: OutcomeGroup.GONE,
    Outcome.GONE_UNATTRIBUTED: OutcomeGroup.GONE,
    Outcome.REFUSED: OutcomeGroup.REFUSED,
    Outcome.NOT_SENT: OutcomeGroup.NOTHING_SENT,
    Outcome.STALE: OutcomeGroup.NOTHING_SENT,
    Outcome.DECLINED: OutcomeGroup.NOTHING_SENT,
    Outcome.WITHDRAWN: OutcomeGroup.NOTHING_SENT,
    Outcome.EXPIRED: OutcomeGroup.NOTHING_SENT,
    Outcome.UNRESOLVED: OutcomeGroup.UNKNOWN,
}


def outcome_group(*, state: str, outcome: str) -> OutcomeGroup:
    """The group of a deletion. An open one has no outcome."""
    if outcome:
        return GROUP_OF[Outcome(outcome)]
    return OutcomeGroup.UNKNOWN if state == State.UNKNOWN else OutcomeGroup.OPEN


def statuses_in(group: OutcomeGroup) -> list[str]:
    """The open states and the outcomes of a group, for a filter by status."""
    open_states = [
        state for state in OPEN_STATES if outcome_group(state=state, outcome="") == group
    ]
    return [*open_states, *(outcome for outcome in Outcome if GROUP_OF[outcome] == group)]


_UNDETERMINED = (State.UNKNOWN, Outcome.GONE_UNATTRIBUTED, Outcome.UNRESOLVED)
# What a filter by status can name, besides each state and outcome.
STATUS_GROUPS: dict[str, list[str]] = {
    "open": [state for state in OPEN_STATES if state not in _UNDETERMINED],
    "not_deleted": [each for each in Outcome if each not in {Outcome.DELETED, *_UNDETERMINED}],
    "undetermined": list(_UNDETERMINED),
}


# The steps that a status allows. All other statuses only lead to a new request.
_STEPS = {
    DeletionStatus.NEEDS_APPROVAL: (
        NextStep.APPROVE,
        NextStep.DECLINE,
        NextStep.BREAK_GLASS,
        NextStep.WITHDRAW,
    ),
    DeletionStatus.NEEDS_CONFIRMATION: (NextStep.CONFIRM, NextStep.WITHDRAW),
    # Until a worker closes it, it can only be withdrawn.
    DeletionStatus.EXPIRED: (NextStep.WITHDRAW, NextStep.REQUEST_AGAIN),
    DeletionStatus.APPROVED: (NextStep.CONFIRM, NextStep.WITHDRAW),
    DeletionStatus.CHECKING: (),
    DeletionStatus.CONFIRMED: (NextStep.CONFIRM, NextStep.WITHDRAW),
    DeletionStatus.CHECK_FAILED: (NextStep.CONFIRM, NextStep.WITHDRAW),
    # 60 s after the claim, this check gives up on an attempt whose process was killed.
    DeletionStatus.SENDING: (NextStep.CHECK,),
    DeletionStatus.RATE_LIMITED: (NextStep.WITHDRAW,),
    DeletionStatus.QUEUED: (NextStep.WITHDRAW,),
    DeletionStatus.RETRYING: (NextStep.WITHDRAW,),
    DeletionStatus.UNKNOWN: (NextStep.CHECK, NextStep.CLOSE),
    DeletionStatus.NO_EFFECT: (
        NextStep.CONFIRM,
        NextStep.APPROVE,
        NextStep.DECLINE,
        NextStep.BREAK_GLASS,
        NextStep.CHECK,
        NextStep.CLOSE,
    ),
    DeletionStatus.DELETED: (),
    DeletionStatus.DELETED_VERIFYING: (NextStep.CHECK,),
    DeletionStatus.DELETED_UNVERIFIED: (NextStep.CHECK,),
    DeletionStatus.STILL_LISTED: (NextStep.CHECK,),
    DeletionStatus.REAPPEARED: (NextStep.CHECK,),
    DeletionStatus.GONE_LATER: (NextStep.CHECK,),
    DeletionStatus.NOT_FOUND: (),
    DeletionStatus.ALREADY_GONE: (),
    DeletionStatus.NOT_LISTED: (),
    DeletionStatus.GONE_UNPROVEN: (),
    DeletionStatus.UNRESOLVED: (),
}


def steps_of(status: DeletionStatus) -> tuple[NextStep, ...]:
    """The steps that this status allows, before permissions are considered."""
    return _STEPS.get(status, (NextStep.REQUEST_AGAIN,))


STATUS_OF_STATE = {
    State.REQUESTED: DeletionStatus.NEEDS_CONFIRMATION,
    State.APPROVED: DeletionStatus.APPROVED,
    State.SENDING: DeletionStatus.SENDING,
    State.WAITING: DeletionStatus.RETRYING,
    State.UNKNOWN: DeletionStatus.UNKNOWN,
    State.STILL_PRESENT: DeletionStatus.NO_EFFECT,
}
STATUS_OF_OUTCOME = {
    Outcome.DELETED: DeletionStatus.DELETED,
    Outcome.ALREADY_ABSENT: DeletionStatus.NOT_FOUND,
    Outcome.GONE_UNATTRIBUTED: DeletionStatus.GONE_UNPROVEN,
    Outcome.REFUSED: DeletionStatus.FAILED,
    Outcome.NOT_SENT: DeletionStatus.GAVE_UP,
    Outcome.STALE: DeletionStatus.CHANGED,
    Outcome.DECLINED: DeletionStatus.DECLINED,
    Outcome.WITHDRAWN: DeletionStatus.WITHDRAWN,
    Outcome.EXPIRED: DeletionStatus.EXPIRED,
    Outcome.UNRESOLVED: DeletionStatus.UNRESOLVED,
}


def status_of(deletion: Deletion) -> DeletionStatus:
    """The status of one deletion, from its own row alone.

    `status_at` also knows what depends on the time: whether an open deletion has
    expired or is being checked.
    """
    if deletion.contradicted_at:
        return _contradicted_status(deletion)
    if not deletion.is_settled:
        return _open_status(deletion)
    outcome = Outcome(deletion.outcome)
    if outcome == Outcome.DELETED and not deletion.verified_at:
        is_due = deletion.due_at is not None
        return DeletionStatus.DELETED_VERIFYING if is_due else DeletionStatus.DELETED_UNVERIFIED
    if outcome == Outcome.ALREADY_ABSENT and deletion.cause == Cause.ABSENT_WHEN_READ:
        was_listed = deletion.is_reviewed
        return DeletionStatus.ALREADY_GONE if was_listed else DeletionStatus.NOT_LISTED
    if outcome == Outcome.NOT_SENT and not deletion.epoch:
        return DeletionStatus.NOT_SENT
    return STATUS_OF_OUTCOME[outcome]


_EXPIRABLE = (State.REQUESTED, State.APPROVED)


def status_at(deletion: Deletion, *, now: datetime) -> DeletionStatus:
    """Its status at this time: also whether it is being checked, or expired without being closed.

    `now` is the database's time.
    """
    return status_of(deletion) if deletion.is_settled else open_status_at(deletion, now=now)


def open_status_at(change_request: ChangeRequest, *, now: datetime) -> DeletionStatus:
    """The status of an open request of any kind at this time."""
    # First, because a confirmation in time is sent, even if its check ends after the deadline.
    if states.is_being_rechecked(change_request, now=now):
        return DeletionStatus.CHECKING
    if change_request.state in _EXPIRABLE and states.has_expired(change_request, now=now):
        return DeletionStatus.EXPIRED
    return _open_status(change_request)


def _contradicted_status(deletion: Deletion) -> DeletionStatus:
    if deletion.last_check_listed is False:
        return DeletionStatus.GONE_LATER
    was_gone = (
        deletion.verified_at is not None
        or deletion.outcome == Outcome.GONE_UNATTRIBUTED
        or deletion.cause == Cause.ABSENT_WHEN_READ
    )
    return DeletionStatus.REAPPEARED if was_gone else DeletionStatus.STILL_LISTED


def _open_status(change_request: ChangeRequest) -> DeletionStatus:
    if change_request.has_no_effect:
        return DeletionStatus.NO_EFFECT
    if change_request.state == State.REQUESTED and change_request.needs_approval:
        return DeletionStatus.NEEDS_APPROVAL
    if change_request.state in {State.REQUESTED, State.APPROVED, State.WAITING}:
        is_waiting = change_request.state == State.WAITING
        if change_request.cause == Cause.LISTING_FAILED:
            return DeletionStatus.CHECK_FAILED
        if change_request.cause == Cause.RATE_LIMITED and is_waiting:
            return DeletionStatus.RATE_LIMITED
        if change_request.is_run_by_batch and is_waiting and not change_request.epoch:
            return DeletionStatus.QUEUED
        if change_request.confirmed_at and not change_request.cause and not is_waiting:
            return DeletionStatus.CONFIRMED
    return STATUS_OF_STATE[State(change_request.state)]


def retry_text(deletion: ChangeRequest) -> str:
    """When a waiting request is sent, or closed if the retry would come too late.

    Makes no query, so its bulk deletion might be paused.
    """
    if is_retry_too_late(deletion):
        return f"Closes at {format_time(deletion.expires_at)} without a retry"
    if deletion.is_run_by_batch:
        return "A worker retries it while its bulk deletion runs"
    return f"Retries at {format_time(deletion.due_at)}"


def is_retry_too_late(deletion: ChangeRequest) -> bool:
    """Whether a waiting deletion's time for retries ends before its next retry."""
    return deletion.expires_at is not None and deletion.due_at == deletion.expires_at


def retried_since(deletion: Deletion) -> str:
    """When the time for retries began."""
    if deletion.is_run_by_batch:
        return "its first attempt or last rate limit reset"
    return "confirmation"
