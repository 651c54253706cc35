"""The tables, by noun."""

from connections.models.access import AccessKind, CredentialAccess, Visibility
from connections.models.approvals import Approval, BreakGlassReview
from connections.models.audit import (
    AuditEvent,
    AuditHead,
    AuditVerification,
    Checkpoint,
    PersonalValue,
    references_in,
    render_references,
    with_values,
)
from connections.models.credentials import ApprovalPolicy, Credential, KeyPair
from connections.models.deletions import (
    AMBIGUOUS,
    GONE_OUTCOMES,
    OPEN_STATES,
    Attempt,
    Deletion,
    Outcome,
    State,
    approval_digest_of,
)
from connections.models.notices import Notification
from connections.models.org_connections import (
    SNAPSHOT_FIELD_NAMES,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    SnapshotFields,
    Sync,
    snapshot_digest,
)
from connections.models.people import Person, ProviderAccount, Role, SignInLink
from connections.models.protections import Protection, ProtectionRemoval
from connections.models.sessions import PersonSession
from connections.models.workers import WorkerHeartbeat

__all__ = [
    "AMBIGUOUS",
    "GONE_OUTCOMES",
    "OPEN_STATES",
    "SNAPSHOT_FIELD_NAMES",
    "AccessKind",
    "Approval",
    "ApprovalPolicy",
    "Attempt",
    "AuditEvent",
    "AuditHead",
    "AuditVerification",
    "BreakGlassReview",
    "Checkpoint",
    "Credential",
    "CredentialAccess",
    "Deletion",
    "KeyPair",
    "Notification",
    "OrgConnectionKey",
    "OrgConnectionSnapshot",
    "Outcome",
    "Person",
    "PersonSession",
    "PersonalValue",
    "Protection",
    "ProtectionRemoval",
    "ProviderAccount",
    "Role",
    "SignInLink",
    "SnapshotFields",
    "State",
    "Sync",
    "Visibility",
    "WorkerHeartbeat",
    "approval_digest_of",
    "references_in",
    "render_references",
    "snapshot_digest",
    "with_values",
]
