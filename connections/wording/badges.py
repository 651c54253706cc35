"""Badges of deletions: label, icon and tone, without a database query."""

from collections.abc import Iterable
from dataclasses import dataclass

from connections.core.causes import Cause
from connections.core.text import format_time
from connections.datadog.responses import AttemptResult
from connections.models import Attempt, Deletion, Outcome, State
from connections.wording.causes import cause_text


@dataclass(frozen=True, kw_only=True)
class Badge:
    """`tone` is one of ok, danger, warn, info, unknown, muted; `icon` a name of the icon set."""

    label: str
    tone: str
    icon: str


def _badge(label: str, tone: str, icon: str) -> Badge:
    return Badge(label=label, tone=tone, icon=icon)


_OF_STATE = {
    State.REQUESTED: _badge("Needs approval", "info", "people"),
    State.APPROVED: _badge("Approved", "info", "check"),
    State.SENDING: _badge("Sending", "info", "send"),
    State.WAITING: _badge("Waiting", "warn", "clock"),
    State.UNKNOWN: _badge("Unknown", "unknown", "question"),
    State.STILL_PRESENT: _badge("Still there", "warn", "warning"),
}
_OF_OUTCOME = {
    Outcome.DELETED: _badge("Deleted", "ok", "check"),
    Outcome.ALREADY_ABSENT: _badge("Not found", "muted", "minus"),
    Outcome.GONE_UNATTRIBUTED: _badge("Gone", "muted", "minus"),
    Outcome.REFUSED: _badge("Refused", "danger", "cross"),
    # Datadog may have refused an attempt before; only the row tells.
    Outcome.NOT_SENT: _badge("Gave up", "muted", "minus"),
    Outcome.STALE: _badge("Changed", "warn", "warning"),
    Outcome.DECLINED: _badge("Declined", "muted", "cross"),
    Outcome.WITHDRAWN: _badge("Withdrawn", "muted", "minus"),
    Outcome.EXPIRED: _badge("Expired", "muted", "clock"),
    Outcome.UNRESOLVED: _badge("Closed, unknown", "unknown", "question"),
}
NOT_CONFIRMED = _badge("Not confirmed", "warn", "clock")
# Being rechecked, or left by a process that died: the row alone can't tell.
CONFIRMED = _badge("Confirmed, not sent", "info", "clock")
CONFIRMED_AGAIN = _badge("Confirmed", "info", "clock")
NEVER_SENT = _badge("Not sent", "muted", "minus")
RECHECKING = _badge("Reading again", "info", "clock")
RECHECK_FAILED = _badge("Could not be read", "warn", "warning")
CHECKING = _badge("Deleted, checking", "ok", "check")
NOT_CHECKED = _badge("Deleted, not checked", "ok", "check")
WAS_LISTED = _badge("Was listed again", "warn", "warning")
STILL_LISTED = _badge("Still listed", "danger", "warning")
ALREADY_GONE = _badge("Already gone", "muted", "minus")
REFUSED_STATUS = {
    Cause.BAD_REQUEST: 400,
    Cause.UNAUTHORIZED: 401,
    Cause.FORBIDDEN: 403,
}


def badge(deletion: Deletion) -> Badge:
    """The badge of one deletion, from its own row alone.

    The epoch shows that there were attempts, but not their results.
    """
    if deletion.contradicted_at:
        return WAS_LISTED if deletion.last_check_listed is False else STILL_LISTED
    if not deletion.is_settled:
        return _open_badge(deletion)
    outcome = Outcome(deletion.outcome)
    if outcome == Outcome.DELETED and not deletion.verified_at:
        return CHECKING if deletion.due_at else NOT_CHECKED
    if outcome == Outcome.ALREADY_ABSENT and deletion.cause == Cause.ABSENT_WHEN_READ:
        return ALREADY_GONE
    if outcome == Outcome.NOT_SENT and not deletion.epoch:
        return NEVER_SENT
    if outcome == Outcome.REFUSED and deletion.cause in REFUSED_STATUS:
        return _badge(f"Refused ({REFUSED_STATUS[Cause(deletion.cause)]})", "danger", "cross")
    return _OF_OUTCOME[outcome]


def _open_badge(deletion: Deletion) -> Badge:
    if deletion.state in {State.REQUESTED, State.APPROVED}:
        if deletion.cause == Cause.LISTING_FAILED:
            return RECHECK_FAILED
        if deletion.confirmed_at and not deletion.cause:
            return CONFIRMED_AGAIN if deletion.epoch else CONFIRMED
        if deletion.state == State.REQUESTED and not deletion.needs_approval:
            return NOT_CONFIRMED
    return _OF_STATE[State(deletion.state)]


def label_of_state(state: str) -> str:
    """The label of a state, for filters and legends."""
    return _OF_STATE[State(state)].label if state != State.SETTLED else "Settled"


def outcome_badge(outcome: str) -> Badge:
    """The badge of an outcome, whatever happened to the deletion later."""
    return _OF_OUTCOME[Outcome(outcome)]


def label_of_outcome(outcome: str) -> str:
    """The label of an outcome, for filters and legends."""
    return outcome_badge(outcome).label


def late_response_texts(attempts: Iterable[Attempt]) -> tuple[str, ...]:
    """A sentence for each response that came after Org Admin stopped waiting for it."""
    return tuple(_late_response_text(attempt) for attempt in attempts if attempt.is_late)


def _late_response_text(attempt: Attempt) -> str:
    when = f"A late response to attempt {attempt.number}, at {format_time(attempt.answered_at)}"
    if attempt.http_status is not None:
        result = f"Datadog answered {attempt.http_status}."
    elif attempt.verdict == AttemptResult.NOT_SENT:
        result = f"The request did not leave. {cause_text(attempt.cause)}"
    else:
        result = cause_text(attempt.cause)
    return f"{when}. {result} Org Admin had stopped waiting for it."
