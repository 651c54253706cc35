"""What became of a deletion, as coarsely as a small chart can show it."""

from enum import StrEnum

from connections.models import Outcome, State


class OutcomeGroup(StrEnum):
    """One colour of the chart."""

    DELETED = "deleted"
    GONE = "gone"  # gone or not found, without proof that we did it
    REFUSED = "refused"
    NOTHING_SENT = "nothing_sent"
    UNKNOWN = "unknown"
    OPEN = "open"


_KINDS = {
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


def outcome_group_of(*, state: str, outcome: str) -> OutcomeGroup:
    """The kind of a deletion; one that is open has no outcome."""
    if outcome:
        return _KINDS[Outcome(outcome)]
    return OutcomeGroup.UNKNOWN if state == State.UNKNOWN else OutcomeGroup.OPEN
