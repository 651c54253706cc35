"""The statuses of a deletion: label, icon, tone, explanation and next steps of each."""

from dataclasses import replace
from enum import Enum, StrEnum

from connections.core.causes import Cause
from connections.core.text import format_time
from connections.models import Deletion, Outcome, State
from connections.wording import attempt_facts
from connections.wording.attempt_facts import Sent
from connections.wording.causes import cause_text
from connections.wording.statuses import Badge


class NextStep(StrEnum):
    """A step that a deletion's page can offer, if the person's roles and the state allow it."""

    CONFIRM = "confirm"  # enter the confirmation and send
    APPROVE = "approve"
    DECLINE = "decline"
    BREAK_GLASS = "break_glass"  # send without the missing approvals
    WITHDRAW = "withdraw"
    CHECK = "check"  # sync now and check the outcome
    CLOSE = "close"  # close it as unresolved
    REQUEST_AGAIN = "request_again"  # a new review with the same reason


class DeletionStatus(Enum):
    """Where a deletion is now, or how it ended.

    An explanation can contain fields of `_fields`, and claims of attempt_facts, which are shown
    only if the recorded attempts make them true.
    """

    NEEDS_APPROVAL = Badge(
        "Needs approval", "info", "people", "Waiting for approval. Nothing has been sent."
    )
    NEEDS_CONFIRMATION = Badge(
        "Needs confirmation", "warn", "clock", "{requester} must confirm. Nothing has been sent."
    )
    APPROVED = Badge(
        "Approved",
        "info",
        "check",
        "{requester} must confirm by {deadline}. Nothing has been sent.",
    )
    CHECKING = Badge(
        "Checking",
        "info",
        "search",
        "Checking the connection before sending. Nothing has been sent.",
    )
    CONFIRMED = Badge("Confirmed", "info", "person", "Confirmed. The DELETE hasn't been sent yet.")
    CHECK_FAILED = Badge(
        "Check failed", "warn", "warning", "The pre-send check failed. Nothing was sent."
    )
    SENDING = Badge(
        "Sending",
        "info",
        "send",
        "The DELETE is in progress. You can close this page; the result is recorded.",
    )
    RATE_LIMITED = Badge(
        "Rate limited",
        "warn",
        "clock",
        "Rate limited (429). Nothing was deleted. {retries}{retry_limit}.",
    )
    QUEUED = Badge(
        "Queued",
        "info",
        "clock",
        "Confirmed. Sent while the bulk deletion runs.",
    )
    RETRYING = Badge(
        "Retrying",
        "warn",
        "refresh",
        "The request could not leave this server. Nothing was deleted. {retries}.",
    )
    UNKNOWN = Badge(
        "Unknown",
        "unknown",
        "question",
        "Outcome unknown. The DELETE was sent and might have worked. Never resent automatically.",
    )
    NO_EFFECT = Badge(
        "No effect",
        "warn",
        "warning",
        "No effect so far: two complete syncs still list the connection. Never resent "
        "automatically.",
    )
    DELETED = Badge(
        "Deleted",
        "ok",
        "check",
        "Deleted and verified: Datadog returned 200 and no longer lists the connection.",
    )
    DELETED_VERIFYING = Badge("Deleted, verifying", "ok", "clock", "Datadog returned 200. {then}")
    DELETED_UNVERIFIED = Badge(
        "Deleted, unverified",
        "warn",
        "clock",
        "Datadog returned 200. No complete sync has confirmed it yet.",
    )
    STILL_LISTED = Badge(
        "Still listed",
        "danger",
        "warning",
        "Datadog reported {reported} but still lists the connection.",
    )
    REAPPEARED = Badge(
        "Reappeared", "danger", "refresh", "The connection was gone and is listed again."
    )
    GONE_LATER = Badge(
        "Gone later",
        "warn",
        "minus",
        "Listed after this deletion, but not in the latest complete sync.",
    )
    NOT_FOUND = Badge(
        "Not found", "muted", "search", "Not found (404). This request deleted nothing."
    )
    ALREADY_GONE = Badge(
        "Already gone",
        "muted",
        "minus",
        "The pre-send check no longer listed it. Nothing was sent.",
    )
    NOT_LISTED = Badge(
        "Not listed",
        "muted",
        "question",
        "This credential doesn't list that ID. Nothing was sent.",
    )
    GONE_UNPROVEN = Badge(
        "Gone, unproven",
        "muted",
        "minus",
        "Gone, but not proven to be this request. The response was lost.",
    )
    FAILED = Badge("Failed ({http_status})", "danger", "cross", "{refusal}. Nothing was deleted.")
    NOT_SENT = Badge("Not sent", "muted", "cross", "{cause} Nothing was sent.")
    # The same outcome after an attempt, for which “Not sent” would be false.
    GAVE_UP = Badge("Gave up", "muted", "cross", "{cause} This request deleted nothing.")
    CHANGED = Badge(
        "Changed", "warn", "warning", "The connection changed after review. Nothing was sent."
    )
    DECLINED = Badge("Declined", "muted", "cross", "Declined by {by}. Nothing was deleted.")
    WITHDRAWN = Badge("Withdrawn", "muted", "minus", "Withdrawn by {by}. Nothing was deleted.")
    EXPIRED = Badge("Expired", "muted", "clock", "Expired at {ended}. Nothing was deleted.")
    UNRESOLVED = Badge(
        "Unresolved",
        "warn",
        "question",
        "Closed by {by}; the outcome was never determined.",
    )


OPEN_STATUSES = (
    DeletionStatus.NEEDS_APPROVAL,
    DeletionStatus.NEEDS_CONFIRMATION,
    DeletionStatus.APPROVED,
    DeletionStatus.CHECKING,
    DeletionStatus.CONFIRMED,
    DeletionStatus.CHECK_FAILED,
    DeletionStatus.SENDING,
    DeletionStatus.RATE_LIMITED,
    DeletionStatus.QUEUED,
    DeletionStatus.RETRYING,
    DeletionStatus.UNKNOWN,
    DeletionStatus.NO_EFFECT,
)
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


# Shown next to the status.
FLAGS = {
    "break_glass": Badge(
        "Break glass", "danger", "warning", "Confirmed without the required approvals."
    ),
    "late_response": Badge(
        "Late response",
        "warn",
        "clock",
        "A response arrived after Org Admin stopped waiting for it.",
    ),
}
_OF_STATE = {
    State.REQUESTED: DeletionStatus.NEEDS_CONFIRMATION,
    State.APPROVED: DeletionStatus.APPROVED,
    State.SENDING: DeletionStatus.SENDING,
    State.WAITING: DeletionStatus.RETRYING,
    State.UNKNOWN: DeletionStatus.UNKNOWN,
    State.STILL_PRESENT: DeletionStatus.NO_EFFECT,
}
_OF_OUTCOME = {
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
_REFUSALS: dict[str, tuple[int, str]] = {
    Cause.BAD_REQUEST: (400, "Bad request (400)"),
    Cause.UNAUTHORIZED: (401, "Invalid keys (401)"),
    Cause.FORBIDDEN: (403, "Permission denied (403)"),
}


def status_of(deletion: Deletion) -> DeletionStatus:
    """The status of one deletion, from its own row alone.

    `deletions.states.status_at` also knows what depends on the time: whether an open deletion has
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
    return _OF_OUTCOME[outcome]


def _contradicted_status(deletion: Deletion) -> DeletionStatus:
    if deletion.last_check_listed is False:
        return DeletionStatus.GONE_LATER
    was_gone = (
        deletion.verified_at is not None
        or deletion.outcome == Outcome.GONE_UNATTRIBUTED
        or deletion.cause == Cause.ABSENT_WHEN_READ
    )
    return DeletionStatus.REAPPEARED if was_gone else DeletionStatus.STILL_LISTED


def _open_status(deletion: Deletion) -> DeletionStatus:
    if deletion.state == State.REQUESTED and deletion.needs_approval:
        return DeletionStatus.NEEDS_APPROVAL
    if deletion.state in {State.REQUESTED, State.APPROVED, State.WAITING}:
        if deletion.cause == Cause.LISTING_FAILED:
            return DeletionStatus.CHECK_FAILED
        if deletion.cause == Cause.RATE_LIMITED and deletion.state == State.WAITING:
            return DeletionStatus.RATE_LIMITED
        if deletion.is_run_by_batch and deletion.state == State.WAITING and not deletion.epoch:
            return DeletionStatus.QUEUED
        if deletion.confirmed_at and not deletion.cause and deletion.state != State.WAITING:
            return DeletionStatus.CONFIRMED
    return _OF_STATE[State(deletion.state)]


def retry_text(deletion: Deletion) -> str:
    """When a waiting deletion is sent, or closed if the retry would come too late.

    Makes no query, so its bulk deletion might be paused.
    """
    if is_retry_too_late(deletion):
        return f"Closes at {format_time(deletion.expires_at)} without a retry"
    if deletion.is_run_by_batch:
        return "A worker retries it while its bulk deletion runs"
    return f"Retries at {format_time(deletion.due_at)}"


def is_retry_too_late(deletion: Deletion) -> bool:
    """Whether a waiting deletion's time for retries ends before its next retry."""
    return deletion.expires_at is not None and deletion.due_at == deletion.expires_at


def retried_since(deletion: Deletion) -> str:
    """When the 15 minutes for retries began."""
    if deletion.is_run_by_batch:
        return "its first attempt or last rate limit reset"
    return "confirmation"


def _fields(deletion: Deletion) -> dict[str, str]:
    http_status, refusal = _REFUSALS.get(deletion.cause, (0, "Datadog refused the request"))
    return {
        "requester": deletion.requested_by_name,
        "by": deletion.settled_by_name or "a person",
        "deadline": format_time(deletion.expires_at),
        "retries": retry_text(deletion),
        "then": f"Next check at {format_time(deletion.due_at)}."
        if deletion.last_checked_at
        else "A check of its list follows.",
        "retry_limit": ""
        if is_retry_too_late(deletion)
        else f", up to 15 min after {retried_since(deletion)}",
        "ended": format_time(deletion.settled_at or deletion.expires_at),
        "reported": "success" if deletion.outcome == Outcome.DELETED else "it absent (404)",
        "http_status": str(http_status or ""),
        "refusal": refusal,
        "cause": cause_text(deletion.cause) or "Org Admin stopped trying.",
    }


def filled_in(status: DeletionStatus, *, fields: dict[str, str], sent: Sent | None) -> Badge:
    """The badge with its fields filled in. Its explanation claims only what `sent` makes true."""
    explanation = attempt_facts.with_true_claims(status.value.explanation, sent=sent)
    return replace(
        status.value,
        label=status.value.label.format_map(fields).removesuffix(" ()"),
        explanation=explanation.format_map(fields),
    )


def explain(deletion: Deletion, *, status: DeletionStatus, sent: Sent) -> str:
    """The explanation of a deletion's status."""
    return filled_in(status, fields=_fields(deletion), sent=sent).explanation


def badge(deletion: Deletion, *, status: DeletionStatus) -> Badge:
    """The badge of one deletion with this status, without a database query.

    The epoch shows whether there were attempts, but not their results.
    """
    sent = None if deletion.epoch else Sent.NOTHING
    return filled_in(status, fields=_fields(deletion), sent=sent)


def label_of_state(state: str) -> str:
    """The label of a state, for filters."""
    labels = {
        State.REQUESTED: "Needs approval or confirmation",
        State.WAITING: "Queued or retrying",
        State.SETTLED: "Closed",
    }
    return labels.get(State(state)) or _OF_STATE[State(state)].value.label


def outcome_badge(outcome: str) -> Badge:
    """The badge of an outcome, with a text that is true of every deletion with that outcome."""
    found = _OF_OUTCOME[Outcome(outcome)].value
    return replace(found, label=found.label.removesuffix(" ({http_status})"), explanation="")


def label_of_outcome(outcome: str) -> str:
    """The label of an outcome, for filters."""
    return outcome_badge(outcome).label
