"""What became of a deletion, as coarsely as a small chart can show it."""

from enum import StrEnum

from connections.models import Outcome, State


class Kind(StrEnum):
    """One colour of the chart."""

    DELETED = "deleted"
    GONE = "gone"  # gone or not found, without proof that we did it
    REFUSED = "refused"
    NOTHING_SENT = "nothing_sent"
    UNKNOWN = "unknown"
    OPEN = "open"


_KINDS = {
    Outcome.DELETED: Kind.DELETED,
    Outcome.ALREADY_ABSENT: Kind.GONE,
    Outcome.GONE_UNATTRIBUTED: Kind.GONE,
    Outcome.REFUSED: Kind.REFUSED,
    Outcome.NOT_SENT: Kind.NOTHING_SENT,
    Outcome.STALE: Kind.NOTHING_SENT,
    Outcome.DECLINED: Kind.NOTHING_SENT,
    Outcome.WITHDRAWN: Kind.NOTHING_SENT,
    Outcome.EXPIRED: Kind.NOTHING_SENT,
    Outcome.UNRESOLVED: Kind.UNKNOWN,
}


def kind_of(*, state: str, outcome: str) -> Kind:
    """The kind of a deletion; one that is open has no outcome."""
    if outcome:
        return _KINDS[Outcome(outcome)]
    return Kind.UNKNOWN if state == State.UNKNOWN else Kind.OPEN
