"""What access requests, their kinds, states and outcomes are called."""

from connections.models import AccessOutcome, AccessRequest, AccessState, RequestKind

KIND_LABELS = {
    RequestKind.CREATE: "Create",
    RequestKind.CHANGE: "Change data types",
    RequestKind.EXTEND: "Extend",
    RequestKind.RESTORE: "Restore",
    RequestKind.MOVE: "Move",
}
OUTCOME_LABELS = {
    AccessOutcome.CREATED: "Created",
    AccessOutcome.CHANGED: "Data types changed",
    AccessOutcome.EXTENDED: "Extended",
    AccessOutcome.ALREADY_EXISTS: "Already connected",
    AccessOutcome.ALREADY_AS_REQUESTED: "Already as requested",
    AccessOutcome.EXISTS_UNATTRIBUTED: "Connected, unproven",
    AccessOutcome.CHANGED_ELSEWHERE: "Changed elsewhere",
    AccessOutcome.GONE: "Gone",
    AccessOutcome.REFUSED: "Failed",
    AccessOutcome.NOT_SENT: "Not sent",
    AccessOutcome.STALE: "Outdated",
    AccessOutcome.DECLINED: "Declined",
    AccessOutcome.WITHDRAWN: "Withdrawn",
    AccessOutcome.EXPIRED: "Expired",
    AccessOutcome.UNRESOLVED: "Unresolved",
}
STATE_LABELS = {
    AccessState.REQUESTED: "Requested",
    AccessState.APPROVED: "Approved",
    AccessState.SENDING: "Sending",
    AccessState.WAITING: "Retrying",
    AccessState.UNKNOWN: "Unknown",
    AccessState.NO_EFFECT: "No effect",
    AccessState.SETTLED: "Closed",
}


def label_of_outcome(outcome: str) -> str:
    """The outcome as people read it."""
    return OUTCOME_LABELS[AccessOutcome(outcome)]


def label_of(access_request: AccessRequest) -> str:
    """Its outcome or, while it is open, its state, as people read it."""
    if access_request.outcome:
        return label_of_outcome(access_request.outcome)
    return STATE_LABELS[AccessState(access_request.state)]
