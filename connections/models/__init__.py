"""The tables, by noun."""

from connections.models.access import AccessKind, CredentialAccess, Reach
from connections.models.approvals import Approval, GlassReview
from connections.models.audit import (
    AuditEvent,
    AuditHead,
    AuditVerification,
    Checkpoint,
    ErasableValue,
    references_in,
    told,
    with_values,
)
from connections.models.credentials import Credential, KeyPair, Policy
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
from connections.models.notices import Notice
from connections.models.org_connections import (
    SNAPSHOT_FIELD_NAMES,
    Listing,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    SnapshotFields,
    snapshot_digest,
)
from connections.models.people import Person, ProviderAccount, Role, SignInLink
from connections.models.protections import Protection, ProtectionLifting
from connections.models.sessions import PersonSession
from connections.models.workers import WorkerHeartbeat

__all__ = [
    "AMBIGUOUS",
    "GONE_OUTCOMES",
    "OPEN_STATES",
    "SNAPSHOT_FIELD_NAMES",
    "AccessKind",
    "Approval",
    "Attempt",
    "AuditEvent",
    "AuditHead",
    "AuditVerification",
    "Checkpoint",
    "Credential",
    "CredentialAccess",
    "Deletion",
    "ErasableValue",
    "GlassReview",
    "KeyPair",
    "Listing",
    "Notice",
    "OrgConnectionKey",
    "OrgConnectionSnapshot",
    "Outcome",
    "Person",
    "PersonSession",
    "Policy",
    "Protection",
    "ProtectionLifting",
    "ProviderAccount",
    "Reach",
    "Role",
    "SignInLink",
    "SnapshotFields",
    "State",
    "WorkerHeartbeat",
    "approval_digest_of",
    "references_in",
    "snapshot_digest",
    "told",
    "with_values",
]
