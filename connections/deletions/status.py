"""Where a deletion is now or how it ended, and the next steps that this allows."""

from datetime import datetime
from enum import StrEnum

from connections.change_requests.status import (
    OPEN_STEPS,
    NextStep,
    RequestStatus,
    open_status_at,
    open_status_of,
)
from connections.core.causes import Cause
from connections.models import OPEN_STATES, Deletion, Outcome, State


class DeletionEnd(StrEnum):
    """How a deletion ended. `texts.py` has what each one says."""

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
    UNRESOLVED = "unresolved"


type DeletionStatus = RequestStatus | DeletionEnd


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


# All other statuses only lead to a new request.
_STEPS: dict[DeletionStatus, tuple[NextStep, ...]] = OPEN_STEPS | {
    DeletionEnd.DELETED: (),
    DeletionEnd.DELETED_VERIFYING: (NextStep.CHECK,),
    DeletionEnd.DELETED_UNVERIFIED: (NextStep.CHECK,),
    DeletionEnd.STILL_LISTED: (NextStep.CHECK,),
    DeletionEnd.REAPPEARED: (NextStep.CHECK,),
    DeletionEnd.GONE_LATER: (NextStep.CHECK,),
    DeletionEnd.NOT_FOUND: (),
    DeletionEnd.ALREADY_GONE: (),
    DeletionEnd.NOT_LISTED: (),
    DeletionEnd.GONE_UNPROVEN: (),
    DeletionEnd.UNRESOLVED: (),
}


def steps_of(status: DeletionStatus) -> tuple[NextStep, ...]:
    """The steps that this status allows, before permissions are considered."""
    return _STEPS.get(status, (NextStep.REQUEST_AGAIN,))


STATUS_OF_OUTCOME: dict[Outcome, DeletionStatus] = {
    Outcome.DELETED: DeletionEnd.DELETED,
    Outcome.ALREADY_ABSENT: DeletionEnd.NOT_FOUND,
    Outcome.GONE_UNATTRIBUTED: DeletionEnd.GONE_UNPROVEN,
    Outcome.REFUSED: DeletionEnd.FAILED,
    Outcome.NOT_SENT: DeletionEnd.GAVE_UP,
    Outcome.STALE: DeletionEnd.CHANGED,
    Outcome.DECLINED: DeletionEnd.DECLINED,
    Outcome.WITHDRAWN: DeletionEnd.WITHDRAWN,
    Outcome.EXPIRED: RequestStatus.EXPIRED,
    Outcome.UNRESOLVED: DeletionEnd.UNRESOLVED,
}


def status_of(deletion: Deletion) -> DeletionStatus:
    """The status of one deletion, from its own row alone.

    `status_at` also knows what depends on the time: whether an open deletion has
    expired or is being checked.
    """
    if deletion.contradicted_at:
        return _contradicted_status(deletion)
    if not deletion.is_settled:
        return open_status_of(deletion)
    outcome = Outcome(deletion.outcome)
    if outcome == Outcome.DELETED and not deletion.verified_at:
        if deletion.due_at:
            return DeletionEnd.DELETED_VERIFYING
        return DeletionEnd.DELETED_UNVERIFIED
    if outcome == Outcome.ALREADY_ABSENT and deletion.cause == Cause.ABSENT_WHEN_READ:
        was_listed = deletion.is_reviewed
        return DeletionEnd.ALREADY_GONE if was_listed else DeletionEnd.NOT_LISTED
    if outcome == Outcome.NOT_SENT and not deletion.epoch:
        return DeletionEnd.NOT_SENT
    return STATUS_OF_OUTCOME[outcome]


def status_at(deletion: Deletion, *, now: datetime) -> DeletionStatus:
    """Its status at this time: also whether it is being checked, or expired without being closed.

    `now` is the database's time.
    """
    return status_of(deletion) if deletion.is_settled else open_status_at(deletion, now=now)


def _contradicted_status(deletion: Deletion) -> DeletionStatus:
    if deletion.last_check_listed is False:
        return DeletionEnd.GONE_LATER
    was_gone = (
        deletion.verified_at is not None
        or deletion.outcome == Outcome.GONE_UNATTRIBUTED
        or deletion.cause == Cause.ABSENT_WHEN_READ
    )
    return DeletionEnd.REAPPEARED if was_gone else DeletionEnd.STILL_LISTED


def retried_since(deletion: Deletion) -> str:
    """When the time for retries began."""
    if deletion.is_run_by_batch:
        return "its first attempt or last rate limit reset"
    return "confirmation"
