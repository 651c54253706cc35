"""The models, one module per subject."""

from connections.models.audit import (
    AuditEvent,
    AuditHead,
    AuditVerification,
    Checkpoint,
    EventCode,
    PersonalValue,
    references_in,
    render_references,
    with_values,
)
from connections.models.changes import Change, KnownConnection, Org
from connections.models.credentials import (
    AccessKind,
    ApprovalPolicy,
    Credential,
    CredentialAccess,
    Visibility,
)
from connections.models.deletions import (
    AMBIGUOUS,
    GONE_OUTCOMES,
    OPEN_STATES,
    Approval,
    Attempt,
    BreakGlassReview,
    Deletion,
    Outcome,
    State,
    approval_digest_of,
)
from connections.models.notifications import Notification
from connections.models.org_connections import (
    SNAPSHOT_FIELD_NAMES,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Protection,
    ProtectionRemoval,
    SnapshotFields,
    Sync,
    snapshot_digest,
)
from connections.models.people import Person, ProviderAccount, Role, SignInLink
from connections.models.rate_limits import OrgRateLimit
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
    "Change",
    "Checkpoint",
    "Credential",
    "CredentialAccess",
    "Deletion",
    "EventCode",
    "KnownConnection",
    "Notification",
    "Org",
    "OrgConnectionKey",
    "OrgConnectionSnapshot",
    "OrgRateLimit",
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
