"""The explanations of every status, by what it is a status of."""

from connections.wording.batches import BatchStatus
from connections.wording.changes import CHANGE_BADGES
from connections.wording.deletions import FLAGS, OPEN_STATUSES, DeletionStatus, deletion_badges
from connections.wording.statuses import (
    AuditLogStatus,
    Badge,
    ConnectionStatus,
    CredentialStatus,
    NotificationStatus,
    PersonStatus,
    SyncStatus,
)

LEGENDS: dict[str, tuple[Badge, ...]] = {
    "deletion": (*deletion_badges(DeletionStatus), *FLAGS.values()),
    "batch": tuple(status.value for status in BatchStatus),
    "credential": tuple(status.value for status in CredentialStatus),
    "sync": tuple(status.value for status in SyncStatus),
    # The inventory shows a connection's open deletion beside its own flags.
    "connection": (
        *(status.value for status in ConnectionStatus),
        *deletion_badges(OPEN_STATUSES),
    ),
    "change": tuple(CHANGE_BADGES.values()),
    "notification": tuple(status.value for status in NotificationStatus),
    "audit_log": tuple(status.value for status in AuditLogStatus),
    "person": tuple(status.value for status in PersonStatus),
}
