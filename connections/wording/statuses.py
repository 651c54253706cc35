"""The statuses of everything except deletions: label, icon, tone and explanation."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from connections.core import clock
from connections.core.causes import Cause
from connections.core.text import format_time, pluralize
from connections.models import AuditVerification, Credential, Notification, Person, Sync


@dataclass(frozen=True)
class Badge:
    """A status as pages show it. The explanation is the badge's tooltip and appears in the legend.

    `tone` is one of ok, danger, warn, info, unknown and muted. `icon` is the name of an icon.
    """

    label: str
    tone: str
    icon: str
    explanation: str = ""


class CredentialStatus(Enum):
    """What is known about a credential's keys."""

    UNVERIFIED = Badge("Unverified", "muted", "clock", "The keys haven't been checked yet.")
    VERIFIED = Badge("Verified", "ok", "check", "Datadog accepts the keys for this org.")
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
    FAILING = Badge("Failing", "warn", "warning", "Verified earlier, but the last use failed.")
    UNREACHABLE = Badge(
        "Unreachable", "warn", "warning", "No usable response. This says nothing about the keys."
    )
    KEYS_REJECTED = Badge(
        "Keys rejected", "danger", "cross", "Datadog refused the keys (401 or 403)."
    )
    WRONG_ORG = Badge("Wrong org", "danger", "cross", "The keys belong to another org.")
    RETIRED = Badge("Retired", "muted", "minus", "The keys were erased. The history is kept.")


_REJECTED = {Cause.UNAUTHORIZED, Cause.FORBIDDEN, Cause.KEY_NOT_VALID}


def credential_badge(credential: Credential) -> Badge:
    """The most important status of a credential. Read-only and Rotation due are flags."""
    if credential.is_retired:
        status = CredentialStatus.RETIRED
    elif credential.is_verified:
        has_failed = bool(credential.last_error)
        status = CredentialStatus.FAILING if has_failed else CredentialStatus.VERIFIED
    elif credential.verification_cause == Cause.ANOTHER_ORG:
        status = CredentialStatus.WRONG_ORG
    elif credential.verification_cause in _REJECTED:
        status = CredentialStatus.KEYS_REJECTED
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


class AuditLogStatus(Enum):
    """The newest verification of the audit log."""

    INTACT = Badge("Intact", "ok", "check", "Every event and checkpoint passed verification.")
    FAILED = Badge(
        "Verification failed", "danger", "warning", "The audit log is damaged or was changed."
    )
    NOT_VERIFIED = Badge("Not verified", "muted", "clock", "It has never been verified.")
    OVERDUE = Badge(
        "Verification overdue", "warn", "clock", "It was last verified more than 48 hours ago."
    )


# It is verified daily, but a restart can skip a day.
STALE_AFTER = timedelta(hours=48)


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


def person_badge(person: Person) -> Badge:
    """The status of a person's account."""
    if not person.is_active:
        return PersonStatus.DISABLED.value
    has_password = person.has_usable_password()
    return PersonStatus.ACTIVE.value if has_password else PersonStatus.INVITED.value


def audit_log_text(last: AuditVerification | None) -> str:
    """The result of the newest verification."""
    if last is None:
        return "A worker verifies it once a day."
    if last.fault and last.first_bad_seq is None:
        return last.message
    if last.fault:
        return f"First event that can't be trusted: #{last.first_bad_seq}. {last.message}"
    return f"The first {pluralize(last.size, 'event')} and every checkpoint are intact."


def no_worker_text(seen_at: datetime | None) -> str:
    """What a missing worker means and what to do. `seen_at` is the last heartbeat."""
    last = f"Last seen at {format_time(seen_at)}. " if seen_at else ""
    return (
        f"{last}Retries and outcome checks are paused. Deletions you confirm are still sent. Run "
        "./run worker."
    )


def clock_ahead_text(ahead: datetime, *, now: datetime) -> str:
    """What it means that `ahead`, the newest recorded time, is in the future."""
    return (
        f"The newest recorded time is {format_time(ahead)}, but the database server's clock shows "
        f"{format_time(now)}. Check that clock. Until it is right, sessions, links, "
        "approvals and identity checks with a time in the future are invalid, and a deletion that "
        "was being sent becomes unknown."
    )
