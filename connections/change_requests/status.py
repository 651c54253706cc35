"""Where an open request of any kind is now, and the next steps that this allows."""

from datetime import datetime
from enum import StrEnum

from connections.change_requests import states
from connections.core.causes import Cause
from connections.core.text import format_time
from connections.models import ChangeRequest, State


class NextStep(StrEnum):
    """A step that a request's page can offer, if the person's roles and the state allow it."""

    CONFIRM = "confirm"  # enter the confirmation and send
    APPROVE = "approve"
    DECLINE = "decline"
    BREAK_GLASS = "break_glass"  # send without the missing approvals
    WITHDRAW = "withdraw"
    CHECK = "check"  # sync now and check the outcome
    CLOSE = "close"  # close it as unresolved
    REQUEST_AGAIN = "request_again"  # a new request with the same reason


class RequestStatus(StrEnum):
    """Where an open request of any kind is now."""

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
    # Also of a deletion that a worker closed after its deadline.
    EXPIRED = "expired"


# The steps that a status allows, before permissions are considered.
OPEN_STEPS: dict[RequestStatus, tuple[NextStep, ...]] = {
    RequestStatus.NEEDS_APPROVAL: (
        NextStep.APPROVE,
        NextStep.DECLINE,
        NextStep.BREAK_GLASS,
        NextStep.WITHDRAW,
    ),
    RequestStatus.NEEDS_CONFIRMATION: (NextStep.CONFIRM, NextStep.WITHDRAW),
    # Until a worker closes it, it can only be withdrawn.
    RequestStatus.EXPIRED: (NextStep.WITHDRAW, NextStep.REQUEST_AGAIN),
    RequestStatus.APPROVED: (NextStep.CONFIRM, NextStep.WITHDRAW),
    RequestStatus.CHECKING: (),
    RequestStatus.CONFIRMED: (NextStep.CONFIRM, NextStep.WITHDRAW),
    RequestStatus.CHECK_FAILED: (NextStep.CONFIRM, NextStep.WITHDRAW),
    # 60 s after the claim, this check gives up on an attempt whose process was killed.
    RequestStatus.SENDING: (NextStep.CHECK,),
    RequestStatus.RATE_LIMITED: (NextStep.WITHDRAW,),
    RequestStatus.QUEUED: (NextStep.WITHDRAW,),
    RequestStatus.RETRYING: (NextStep.WITHDRAW,),
    RequestStatus.UNKNOWN: (NextStep.CHECK, NextStep.CLOSE),
    RequestStatus.NO_EFFECT: (
        NextStep.CONFIRM,
        NextStep.APPROVE,
        NextStep.DECLINE,
        NextStep.BREAK_GLASS,
        NextStep.CHECK,
        NextStep.CLOSE,
    ),
}
_STATUS_OF_STATE = {
    State.REQUESTED: RequestStatus.NEEDS_CONFIRMATION,
    State.APPROVED: RequestStatus.APPROVED,
    State.SENDING: RequestStatus.SENDING,
    State.WAITING: RequestStatus.RETRYING,
    State.UNKNOWN: RequestStatus.UNKNOWN,
    State.STILL_PRESENT: RequestStatus.NO_EFFECT,
}
_EXPIRABLE = (State.REQUESTED, State.APPROVED)


def open_status_at(change_request: ChangeRequest, *, now: datetime) -> RequestStatus:
    """The status of an open request of any kind at this time."""
    # First, because a confirmation in time is sent, even if its check ends after the deadline.
    if states.is_being_rechecked(change_request, now=now):
        return RequestStatus.CHECKING
    if change_request.state in _EXPIRABLE and states.has_expired(change_request, now=now):
        return RequestStatus.EXPIRED
    return open_status_of(change_request)


def open_status_of(change_request: ChangeRequest) -> RequestStatus:
    """The status of an open request, from its own row alone."""
    if change_request.has_no_effect:
        return RequestStatus.NO_EFFECT
    if change_request.state == State.REQUESTED and change_request.needs_approval:
        return RequestStatus.NEEDS_APPROVAL
    if change_request.state in {State.REQUESTED, State.APPROVED, State.WAITING}:
        is_waiting = change_request.state == State.WAITING
        if change_request.cause == Cause.LISTING_FAILED:
            return RequestStatus.CHECK_FAILED
        if change_request.cause == Cause.RATE_LIMITED and is_waiting:
            return RequestStatus.RATE_LIMITED
        if change_request.is_run_by_batch and is_waiting and not change_request.epoch:
            return RequestStatus.QUEUED
        if change_request.confirmed_at and not change_request.cause and not is_waiting:
            return RequestStatus.CONFIRMED
    return _STATUS_OF_STATE[State(change_request.state)]


def retry_text(change_request: ChangeRequest) -> str:
    """When a waiting request is sent, or closed if the retry would come too late.

    Makes no query, so its bulk deletion might be paused.
    """
    if is_retry_too_late(change_request):
        return f"Closes at {format_time(change_request.expires_at)} without a retry"
    if change_request.is_run_by_batch:
        return "A worker retries it while its bulk deletion runs"
    return f"Retries at {format_time(change_request.due_at)}"


def is_retry_too_late(change_request: ChangeRequest) -> bool:
    """Whether a waiting request's time for retries ends before its next retry."""
    return (
        change_request.expires_at is not None and change_request.due_at == change_request.expires_at
    )
