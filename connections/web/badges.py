"""Statuses as badges. The only place that knows which tone and icon a status has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType

from connections.access_requests.status import (
    AccessStatus,
    ClosedStatus,
    MoveStatus,
    access_label_of,
)
from connections.agreements.agreed import NotAgreed
from connections.batches.texts import is_discarded
from connections.change_requests.status import RequestStatus
from connections.changes.texts import change_title
from connections.core import clock
from connections.core.causes import KEYS_REJECTED, Cause
from connections.core.errors import ResponseLocation
from connections.core.text import format_limit
from connections.deletions.status import (
    STATUS_OF_OUTCOME,
    DeletionEnd,
    DeletionStatus,
    OutcomeGroup,
)
from connections.deletions.texts import explain, label_of
from connections.models import (
    AccessRequest,
    AccessReview,
    AuditVerification,
    Batch,
    BatchState,
    Change,
    Credential,
    Deletion,
    Notification,
    Outcome,
    Person,
    RowProblem,
    RowState,
    Sync,
    outcome_label,
)
from connections.verifier.labels import ROW_PROBLEMS
from connections.verifier.rules import Sent


@dataclass(frozen=True)
class Badge:
    """A status as pages show it. The explanation is the badge's tooltip.

    `tone` is one of ok, danger, warn, info, unknown and muted. `icon` is the name of an icon.
    """

    label: str
    tone: str
    icon: str
    explanation: str = ""


_OPEN = {
    RequestStatus.NEEDS_APPROVAL: ("info", "people"),
    RequestStatus.NEEDS_CONFIRMATION: ("warn", "clock"),
    RequestStatus.APPROVED: ("info", "check"),
    RequestStatus.CHECKING: ("info", "search"),
    RequestStatus.CONFIRMED: ("info", "person"),
    RequestStatus.CHECK_FAILED: ("warn", "warning"),
    RequestStatus.SENDING: ("info", "send"),
    RequestStatus.RATE_LIMITED: ("warn", "clock"),
    RequestStatus.QUEUED: ("info", "clock"),
    RequestStatus.RETRYING: ("warn", "refresh"),
    RequestStatus.UNKNOWN: ("unknown", "question"),
    RequestStatus.NO_EFFECT: ("warn", "warning"),
    RequestStatus.EXPIRED: ("muted", "clock"),
}
_DELETIONS = _OPEN | {
    DeletionEnd.DELETED: ("ok", "check"),
    DeletionEnd.DELETED_VERIFYING: ("ok", "check"),
    DeletionEnd.DELETED_UNVERIFIED: ("warn", "clock"),
    DeletionEnd.STILL_LISTED: ("danger", "warning"),
    DeletionEnd.REAPPEARED: ("danger", "refresh"),
    DeletionEnd.GONE_LATER: ("warn", "minus"),
    DeletionEnd.NOT_FOUND: ("muted", "search"),
    DeletionEnd.ALREADY_GONE: ("muted", "minus"),
    DeletionEnd.NOT_LISTED: ("muted", "question"),
    DeletionEnd.GONE_UNPROVEN: ("muted", "minus"),
    DeletionEnd.FAILED: ("danger", "cross"),
    DeletionEnd.NOT_SENT: ("muted", "cross"),
    DeletionEnd.GAVE_UP: ("muted", "cross"),
    DeletionEnd.CHANGED: ("warn", "warning"),
    DeletionEnd.DECLINED: ("muted", "cross"),
    DeletionEnd.WITHDRAWN: ("muted", "minus"),
    DeletionEnd.UNRESOLVED: ("warn", "question"),
}
_ACCESS_REQUESTS = _OPEN | {
    MoveStatus.CREATING: ("danger", "clock"),
    MoveStatus.INTERRUPTED: ("danger", "warning"),
    ClosedStatus.CREATED: ("ok", "check"),
    ClosedStatus.CREATED_VERIFYING: ("ok", "check"),
    ClosedStatus.CREATED_UNVERIFIED: ("warn", "clock"),
    ClosedStatus.CHANGED: ("ok", "check"),
    ClosedStatus.CHANGED_VERIFYING: ("ok", "check"),
    ClosedStatus.CHANGED_UNVERIFIED: ("warn", "clock"),
    ClosedStatus.CONTRADICTED: ("danger", "warning"),
    ClosedStatus.EXTENDED: ("ok", "check"),
    ClosedStatus.ALREADY_EXISTS: ("muted", "minus"),
    ClosedStatus.ALREADY_AS_REQUESTED: ("muted", "minus"),
    ClosedStatus.EXISTS_UNATTRIBUTED: ("muted", "question"),
    ClosedStatus.CHANGED_ELSEWHERE: ("warn", "warning"),
    ClosedStatus.GONE: ("muted", "minus"),
    ClosedStatus.REFUSED: ("danger", "cross"),
    ClosedStatus.NOT_SENT: ("muted", "cross"),
    ClosedStatus.STALE: ("warn", "warning"),
    ClosedStatus.DECLINED: ("muted", "cross"),
    ClosedStatus.WITHDRAWN: ("muted", "minus"),
    ClosedStatus.EXPIRED: ("muted", "clock"),
    ClosedStatus.UNRESOLVED: ("warn", "question"),
}
# Labels and tones of the groups in bars and charts, in this order.
OUTCOME_GROUPS = {
    OutcomeGroup.DELETED: ("Deleted", "ok"),
    OutcomeGroup.GONE: ("Gone or not found", "info"),
    OutcomeGroup.REFUSED: ("Failed", "danger"),
    OutcomeGroup.NOTHING_SENT: ("Not sent", "muted"),
    OutcomeGroup.UNKNOWN: ("Unknown", "unknown"),
    OutcomeGroup.OPEN: ("Open", "warn"),
}
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
# Where the response of a DELETE is that the database didn't record.
UNRECORDED_RESPONSES = {
    ResponseLocation.LOCALLY: ("unknown", "clock"),
    ResponseLocation.NOWHERE: ("danger", "warning"),
}


def deletion_badge(deletion: Deletion, *, status: DeletionStatus) -> Badge:
    """The badge of one deletion with this status, without a database query.

    The epoch shows whether there were attempts, but not their results.
    """
    tone, icon = _DELETIONS[status]
    sent = None if deletion.epoch else Sent.NOTHING
    return Badge(
        label_of(deletion, status=status), tone, icon, explain(deletion, status=status, sent=sent)
    )


def access_request_badge(access_request: AccessRequest, *, status: AccessStatus) -> Badge:
    """The badge of one access request with this status, without a database query."""
    tone, icon = _ACCESS_REQUESTS[status]
    return Badge(access_label_of(access_request, status=status), tone, icon)


def access_outcome_badge(outcome: str, *, kind: str) -> Badge:
    """The badge of the outcome of an access request of this kind."""
    tone, icon = _ACCESS_REQUESTS[ClosedStatus(outcome)]
    return Badge(outcome_label(outcome, kind=kind), tone, icon)


def outcome_badge(outcome: str) -> Badge:
    """The badge of an outcome."""
    tone, icon = _DELETIONS[STATUS_OF_OUTCOME[Outcome(outcome)]]
    return Badge(Outcome(outcome).label, tone, icon)


class BatchStatus(Enum):
    """Where a bulk deletion is now, or how it ended. Each state has the status of its name."""

    DRAFT = Badge("Draft", "muted", "dot", "A plan that hasn't been requested yet.")
    REQUESTED = Badge(
        "Needs approval", "info", "people", "Waiting for approval. Nothing has been sent."
    )
    APPROVED = Badge(
        "Approved", "info", "check", "The requester must confirm. Nothing has been sent."
    )
    RUNNING = Badge("Running", "info", "send", "Confirmed. A worker is deleting the connections.")
    PAUSED = Badge("Paused", "warn", "clock", "Nothing more is sent until someone resumes it.")
    FINISHED = Badge("Finished", "ok", "check", "Nothing is left to send.")
    CANCELLED = Badge("Canceled", "muted", "minus", "Unsent connections were withdrawn.")
    DISCARDED = Badge("Discarded", "muted", "minus", "A draft that was never requested.")
    DECLINED = Badge("Declined", "muted", "cross", "An approver declined it. Nothing was sent.")
    EXPIRED = Badge(
        "Expired",
        "muted",
        "clock",
        "Not requested, approved or confirmed in time. Nothing was sent.",
    )


def batch_badge(batch: Batch, *, has_expired: bool, is_all_gone: bool = True) -> Badge:
    """The status of a bulk deletion.

    `has_expired` is whether its time has passed and no worker has ended it yet. It is a warning if
    the bulk deletion is finished and not all of its connections are gone (`is_all_gone`).
    """
    if has_expired:
        return BatchStatus.EXPIRED.value
    if is_discarded(batch):
        return BatchStatus.DISCARDED.value
    status = BatchStatus[BatchState(batch.state).name].value
    if batch.state == BatchState.FINISHED and not is_all_gone:
        return replace(status, tone="warn", icon="warning")
    return status


_ROW_PROBLEM_LOOKS: dict[str, tuple[str, str]] = {
    RowProblem.PROTECTED: ("info", "lock"),
    RowProblem.ALREADY_BEING_DELETED: ("info", "clock"),
    RowProblem.NO_CREDENTIAL: ("warn", "key"),
    RowProblem.NOT_VISIBLE: ("muted", "question"),
    RowProblem.MALFORMED_ID: ("muted", "cross"),
    RowProblem.DUPLICATE: ("muted", "copy"),
    RowProblem.CHANGED: ("warn", "warning"),
    RowProblem.KEPT: ("warn", "check"),
}


ALREADY_DELETED = Badge(
    "Already deleted", "muted", "minus", "Another deletion has ended, and the connection is gone."
)


def row_problem_badge(problem: str) -> Badge:
    """Why a row of a bulk deletion can't be deleted."""
    text = ROW_PROBLEMS[problem]
    return Badge(text.label, *_ROW_PROBLEM_LOOKS[problem], text.sentence)


OPEN = Badge("Open", "info", "info", "Reviewers decide on its connections.")
OVERDUE = Badge("Overdue", "warn", "clock", "Its due date has passed.")
CLOSED = Badge("Closed", "ok", "lock", "Its decisions are final.")

ROW_BADGES: Mapping[str, Badge] = MappingProxyType(
    {
        RowState.PENDING: Badge("To decide", "muted", "dot", "It needs a decision."),
        RowState.KEEP: Badge("Keep", "ok", "check", "A reviewer decided to keep it."),
        RowState.DELETE: Badge("Delete", "danger", "cross", "A reviewer decided to delete it."),
        RowState.GONE: Badge(
            "Gone", "muted", "minus", "Datadog no longer lists it, so it needs no decision."
        ),
    }
)
# The same state in a closed access review.
LEFT_OPEN = Badge("Left open", "warn", "minus", "No decision counted when it was closed.")


def review_badge(review: AccessReview, *, now: datetime) -> Badge:
    """The status of an access review."""
    if review.is_closed:
        return CLOSED
    return OVERDUE if review.due_at < now else OPEN


# By title. `change_title` returns no other titles, but it names the ticket of a request.
CHANGE_BADGES = {
    badge.label: badge
    for badge in (
        Badge(
            "Recreated after deletion",
            "danger",
            "refresh",
            "Org Admin deleted the connection between these two orgs; now they have a new one.",
        ),
        Badge(
            "Removed elsewhere",
            "danger",
            "minus",
            "Datadog no longer lists it, and Org Admin didn't delete it.",
        ),
        Badge("Widened to audit", "warn", "widen", "It now also shares audit events."),
        Badge("Widened", "warn", "widen", "It shares more data types than before."),
        Badge("Appeared with audit", "warn", "plus", "A new connection that shares audit events."),
        Badge(
            "Creator disabled",
            "warn",
            "person",
            "The creator's account was disabled. Datadog removes connections created by disabled "
            "users.",
        ),
        Badge("Appeared", "info", "plus", "Earlier complete syncs didn't list it."),
        Badge("Recreated", "info", "refresh", "The two orgs had a connection with another ID."),
        Badge("Creator changed", "info", "person", "Datadog shows a different creator."),
        Badge("Created by request", "muted", "plus", "An access request created it."),
        Badge("Removed by move", "muted", "minus", "A move deleted it and created it again."),
        Badge("Removed by deletion", "muted", "minus", "A deletion in Org Admin removed it."),
        Badge("Removed", "muted", "minus", "Datadog no longer lists it."),
        Badge("Narrowed", "muted", "narrow", "It shares fewer data types than before."),
        Badge("Org renamed", "muted", "rename", "The org has a different name in Datadog."),
    )
}


def change_badge(
    change: Change, *, deletion: Deletion | None, access_request: AccessRequest | None = None
) -> Badge:
    """The title of a change with its tone and icon."""
    title = change_title(change, deletion=deletion, access_request=access_request)
    untitled = "Created by request"
    if change.kind == Change.Kind.REMOVED:
        untitled = "Removed by move" if access_request else "Removed by deletion"
    badge = CHANGE_BADGES.get(title) or CHANGE_BADGES[untitled]
    return replace(badge, label=title)


class CredentialStatus(Enum):
    """What is known about a credential's keys."""

    UNVERIFIED = Badge("Not checked", "muted", "clock", "The keys haven't been checked yet.")
    VERIFIED = Badge("Accepted", "ok", "check", "Datadog accepts the keys for this org.")
    READ_ONLY = Badge(
        "Read-only",
        "warn",
        "warning",
        "The role lacks org_connections_write, so deletions will fail.",
    )
    ROTATION_DUE = Badge(
        "Rotation due",
        "warn",
        "key",
        "The keys have been stored here for longer than your policy allows. Rotate them.",
    )
    FAILING = Badge("Failing", "warn", "warning", "Accepted earlier, but the last use failed.")
    UNREACHABLE = Badge(
        "Unreachable", "warn", "warning", "No usable response. This says nothing about the keys."
    )
    KEYS_REJECTED = Badge(
        "Keys rejected", "danger", "cross", "Datadog refused the keys (401 or 403)."
    )
    WRONG_ORG = Badge("Wrong org", "danger", "cross", "The keys belong to another org.")
    RETIRED = Badge("Retired", "muted", "minus", "The keys were erased. The history is kept.")


def credential_badge(credential: Credential) -> Badge:
    """The most important status of a credential. Read-only and Rotation due are flags."""
    if credential.is_retired:
        status = CredentialStatus.RETIRED
    elif not credential.is_failing:
        status = CredentialStatus.VERIFIED
    elif credential.failure_cause == Cause.ANOTHER_ORG:
        status = CredentialStatus.WRONG_ORG
    elif credential.failure_cause in KEYS_REJECTED:
        status = CredentialStatus.KEYS_REJECTED
    elif credential.is_verified:
        status = CredentialStatus.FAILING
    elif credential.verification_cause:
        status = CredentialStatus.UNREACHABLE
    else:
        status = CredentialStatus.UNVERIFIED
    return status.value


class SyncStatus(Enum):
    """The newest sync of a credential's org."""

    SYNCED = Badge("Synced", "ok", "check", "The list of connections is complete.")
    FAILED = Badge(
        "Sync failed", "warn", "warning", "Older data is shown, from the last complete sync."
    )
    NEVER = Badge("Never synced", "muted", "minus", "There is no complete list yet.")


def sync_badge(sync: Sync | None) -> Badge:
    """The status of a finished sync. None if there is none."""
    if sync is None:
        return SyncStatus.NEVER.value
    return SyncStatus.SYNCED.value if sync.is_complete else SyncStatus.FAILED.value


class OrgStatus(Enum):
    """Whether an org's connections are known from one of its own credentials."""

    SYNCED = Badge("Synced", "ok", "check", "A credential of the org completed its newest sync.")
    FAILING = Badge(
        "Failing",
        "warn",
        "warning",
        "No credential of the org has completed a sync in the last day.",
    )
    NO_CREDENTIAL = Badge(
        "No credential", "muted", "minus", "The org is known only through other orgs."
    )
    NO_VISIBLE_CREDENTIAL = Badge(
        "No credential you can see", "muted", "minus", "You see this org only through other orgs."
    )


class ConnectionStatus(Enum):
    """What the inventory marks a connection with; most have none of these."""

    OUT_OF_DATE = Badge(
        "Out of date", "warn", "clock", "The last sync of its org failed, so older data is shown."
    )
    PROTECTED = Badge("Protected", "info", "lock", "It can't be deleted in Org Admin.")
    CREATOR_DISABLED = Badge(
        "Creator disabled", "warn", "person", "The Datadog user who created it is disabled."
    )


# Why a connection isn't agreed.
AGREEMENT_REASONS = {
    NotAgreed.NO_AGREEMENT: Badge(
        NotAgreed.NO_AGREEMENT.label, "warn", "warning", "No one answers for this access."
    ),
    NotAgreed.OWNER_LEFT: Badge(
        NotAgreed.OWNER_LEFT.label, "warn", "person", "The owner's account is disabled."
    ),
    NotAgreed.WIDER: Badge(
        NotAgreed.WIDER.label, "warn", "widen", "It shares data that wasn't agreed."
    ),
    NotAgreed.ENDED: Badge(
        NotAgreed.ENDED.label, "warn", "clock", "The last day of the agreement has passed."
    ),
}


class NotificationStatus(Enum):
    """The delivery of a notification."""

    QUEUED = Badge("Queued", "muted", "clock", "It hasn't been sent yet.")
    RETRYING = Badge("Retrying", "warn", "clock", "Delivery failed. Org Admin will try again.")
    DELIVERED = Badge("Delivered", "ok", "check", "The destination accepted it.")
    FAILED = Badge("Failed", "danger", "cross", "Org Admin stopped trying to deliver it.")
    NO_RECIPIENT = Badge("No recipient", "muted", "minus", "There was no one to notify.")


_OF_NOTIFICATION = {
    Notification.State.WAITING: NotificationStatus.RETRYING,
    Notification.State.DELIVERED: NotificationStatus.DELIVERED,
    Notification.State.GIVEN_UP: NotificationStatus.FAILED,
    Notification.State.DROPPED: NotificationStatus.NO_RECIPIENT,
}


def notification_badge(notification: Notification) -> Badge:
    """The status of a notification."""
    if notification.state == Notification.State.WAITING and not notification.answered_at:
        return NotificationStatus.QUEUED.value
    return _OF_NOTIFICATION[Notification.State(notification.state)].value


def label_of_notification(state: Notification.State) -> str:
    """The label of one state of a notification, for filters."""
    if state == Notification.State.WAITING:
        return "Queued or retrying"
    return _OF_NOTIFICATION[state].value.label


# It is verified daily, but a restart can skip a day.
STALE_AFTER = timedelta(hours=48)


class AuditLogStatus(Enum):
    """The newest verification of the audit log."""

    INTACT = Badge("Intact", "ok", "check", "Every event and checkpoint passed verification.")
    FAILED = Badge(
        "Verification failed", "danger", "warning", "The audit log is damaged or was changed."
    )
    NOT_VERIFIED = Badge("Not verified", "muted", "clock", "It has never been verified.")
    OVERDUE = Badge(
        "Verification overdue",
        "warn",
        "clock",
        f"It was last verified more than {format_limit(STALE_AFTER)} ago.",
    )


def audit_log_badge(last: AuditVerification | None, *, now: datetime) -> Badge:
    """The status of the audit log, from its newest verification."""
    if last is None:
        status = AuditLogStatus.NOT_VERIFIED
    elif last.fault:
        status = AuditLogStatus.FAILED
    elif clock.elapsed_since(last.checked_at, now=now) > STALE_AFTER:
        status = AuditLogStatus.OVERDUE
    else:
        status = AuditLogStatus.INTACT
    return status.value


class PersonStatus(Enum):
    """Whether a person can sign in."""

    ACTIVE = Badge("Active", "ok", "check", "This person can sign in.")
    INVITED = Badge("Invited", "info", "clock", "This person hasn't chosen a password yet.")
    DISABLED = Badge("Disabled", "muted", "minus", "This person can't sign in.")
    PROGRAM = Badge("Program", "info", "key", "A program uses this account with API tokens.")


def person_badge(person: Person) -> Badge:
    """The status of a person's account."""
    if not person.is_active:
        return PersonStatus.DISABLED.value
    if person.is_program:
        return PersonStatus.PROGRAM.value
    can_sign_in = person.has_usable_password() or person.provider_accounts.exists()
    return PersonStatus.ACTIVE.value if can_sign_in else PersonStatus.INVITED.value
