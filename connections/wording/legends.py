"""The explanations of every status, by what it is a status of."""

from connections.wording.deletions import deletion_badges
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
    "deletion": deletion_badges(),
    "credential": tuple(status.value for status in CredentialStatus),
    "sync": tuple(status.value for status in SyncStatus),
    "connection": tuple(status.value for status in ConnectionStatus),
    "notification": tuple(status.value for status in NotificationStatus),
    "audit_log": tuple(status.value for status in AuditLogStatus),
    "person": tuple(status.value for status in PersonStatus),
}
