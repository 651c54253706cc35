"""What each status of a deletion says: its label and its explanation."""

from dataclasses import dataclass

from connections.core.causes import Cause, cause_text
from connections.core.text import format_time
from connections.deletions.attempt_facts import Claim, Sent, claim_text
from connections.deletions.status import STATUS_OF_OUTCOME, STATUS_OF_STATE, DeletionStatus
from connections.models import Deletion, Outcome, State


@dataclass(frozen=True)
class StatusText:
    """The label of a status, and what it means. Both can contain the fields of `_fields`.

    `claim` is what the explanation says about the attempts, where it has the field `{claim}`. It is
    left out or replaced if the recorded attempts make it untrue.
    """

    label: str
    explanation: str
    claim: Claim | None = None


_TEXTS = {
    DeletionStatus.NEEDS_APPROVAL: StatusText(
        "Needs approval", "Waiting for approval. {claim}", Claim.NOTHING_SENT_YET
    ),
    DeletionStatus.NEEDS_CONFIRMATION: StatusText(
        "Needs confirmation", "{requester} must confirm. {claim}", Claim.NOTHING_SENT_YET
    ),
    DeletionStatus.APPROVED: StatusText(
        "Approved", "{requester} must confirm by {deadline}. {claim}", Claim.NOTHING_SENT_YET
    ),
    DeletionStatus.CHECKING: StatusText(
        "Checking", "Checking the connection before sending. {claim}", Claim.NOTHING_SENT_YET
    ),
    DeletionStatus.CONFIRMED: StatusText(
        "Confirmed", "Confirmed. {claim}", Claim.DELETE_NOT_SENT_YET
    ),
    DeletionStatus.CHECK_FAILED: StatusText(
        "Check failed", "The pre-send check failed. {claim}", Claim.NOTHING_SENT
    ),
    DeletionStatus.SENDING: StatusText(
        "Sending", "The DELETE is in progress. You can close this page; the result is recorded."
    ),
    DeletionStatus.RATE_LIMITED: StatusText(
        "Rate limited", "Rate limited (429). {claim} {retries}{retry_limit}.", Claim.NOTHING_DELETED
    ),
    DeletionStatus.QUEUED: StatusText("Queued", "Confirmed. Sent while the bulk deletion runs."),
    DeletionStatus.RETRYING: StatusText(
        "Retrying",
        "The request could not leave this server. {claim} {retries}.",
        Claim.NOTHING_DELETED,
    ),
    DeletionStatus.UNKNOWN: StatusText(
        "Unknown", "Outcome unknown. {claim} Never resent automatically.", Claim.MIGHT_HAVE_WORKED
    ),
    DeletionStatus.NO_EFFECT: StatusText(
        "No effect",
        (
            "No effect so far: two complete syncs still list the connection. "
            "Never resent automatically."
        ),
    ),
    DeletionStatus.DELETED: StatusText(
        "Deleted", "Deleted and verified: Datadog returned 200 and no longer lists the connection."
    ),
    DeletionStatus.DELETED_VERIFYING: StatusText(
        "Deleted, verifying", "Datadog returned 200. {then}"
    ),
    DeletionStatus.DELETED_UNVERIFIED: StatusText(
        "Deleted, unverified", "Datadog returned 200. No complete sync has confirmed it yet."
    ),
    DeletionStatus.STILL_LISTED: StatusText(
        "Still listed", "Datadog reported {reported} but still lists the connection."
    ),
    DeletionStatus.REAPPEARED: StatusText(
        "Reappeared", "The connection was gone and is listed again."
    ),
    DeletionStatus.GONE_LATER: StatusText(
        "Gone later", "Listed after this deletion, but not in the latest complete sync."
    ),
    DeletionStatus.NOT_FOUND: StatusText(
        "Not found", "Not found (404). {claim}", Claim.DELETED_NOTHING
    ),
    DeletionStatus.ALREADY_GONE: StatusText(
        "Already gone", "The pre-send check no longer listed it. {claim}", Claim.NOTHING_SENT
    ),
    DeletionStatus.NOT_LISTED: StatusText(
        "Not listed", "This credential doesn't list that ID. {claim}", Claim.NOTHING_SENT
    ),
    DeletionStatus.GONE_UNPROVEN: StatusText(
        "Gone, unproven", "Gone, but not proven to be this request. {claim}", Claim.RESPONSE_LOST
    ),
    DeletionStatus.FAILED: StatusText(
        "Failed ({http_status})", "{refusal}. {claim}", Claim.NOTHING_DELETED
    ),
    DeletionStatus.NOT_SENT: StatusText("Not sent", "{cause} {claim}", Claim.NOTHING_SENT),
    DeletionStatus.GAVE_UP: StatusText("Gave up", "{cause} {claim}", Claim.DELETED_NOTHING),
    DeletionStatus.CHANGED: StatusText(
        "Changed", "The connection changed after review. {claim}", Claim.NOTHING_SENT
    ),
    DeletionStatus.DECLINED: StatusText(
        "Declined", "Declined by {by}. {claim}", Claim.NOTHING_DELETED
    ),
    DeletionStatus.WITHDRAWN: StatusText(
        "Withdrawn", "Withdrawn by {by}. {claim}", Claim.NOTHING_DELETED
    ),
    DeletionStatus.EXPIRED: StatusText(
        "Expired", "Expired at {ended}. {claim}", Claim.NOTHING_DELETED
    ),
    DeletionStatus.UNRESOLVED: StatusText(
        "Unresolved", "Closed by {by}; the outcome was never determined."
    ),
}
_REFUSALS: dict[str, tuple[int, str]] = {
    Cause.BAD_REQUEST: (400, "Bad request (400)"),
    Cause.UNAUTHORIZED: (401, "Invalid keys (401)"),
    Cause.FORBIDDEN: (403, "Permission denied (403)"),
}


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


def label_of(deletion: Deletion, *, status: DeletionStatus) -> str:
    """The label of a deletion's status: "Failed (403)"."""
    return _TEXTS[status].label.format_map(_fields(deletion)).removesuffix(" ()")


def explain(deletion: Deletion, *, status: DeletionStatus, sent: Sent | None) -> str:
    """The explanation of a deletion's status, which claims only what `sent` makes true."""
    text = _TEXTS[status]
    claim = claim_text(text.claim, sent=sent) if text.claim else ""
    explanation = text.explanation.format_map(_fields(deletion) | {"claim": claim})
    return " ".join(explanation.split())


def label_of_state(state: str) -> str:
    """The label of a state, for filters."""
    labels = {
        State.REQUESTED: "Needs approval or confirmation",
        State.WAITING: "Queued or retrying",
        State.SETTLED: "Closed",
    }
    return labels.get(State(state)) or _TEXTS[STATUS_OF_STATE[State(state)]].label


def label_of_outcome(outcome: str) -> str:
    """The label of an outcome, for filters and titles: true of every deletion with that outcome."""
    label = _TEXTS[STATUS_OF_OUTCOME[Outcome(outcome)]].label
    return label.removesuffix(" ({http_status})")
