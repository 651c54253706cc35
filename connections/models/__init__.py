"""The models, one module per subject."""

from connections.models.access_lists import AccessKind, CredentialAccess, Visibility
from connections.models.access_requests import (
    COMPLETED,
    GAVE_ACCESS,
    SEEN,
    AccessOutcome,
    AccessRequest,
    AccessRequestApproval,
    AccessRequestAttempt,
    AccessState,
    MoveStep,
    RequestKind,
    outcome_label,
)
from connections.models.access_reviews import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewReviewer,
    AccessReviewRow,
    AccessReviewState,
    Assignment,
    ReviewDecision,
    RowState,
    closing_digest_of,
    covered_values,
    newest_decisions,
    review_digest_of,
)
from connections.models.agreements import (
    AWAITS_OWNER,
    IS_ACCEPTED,
    IS_REFUSED,
    Agreement,
    AgreementReminder,
    OrgPair,
    OwnerDecision,
    newest_agreements,
    of_these_pairs,
)
from connections.models.api_tokens import ApiToken, Scope
from connections.models.audit import (
    AuditEvent,
    AuditHead,
    AuditVerification,
    Checkpoint,
    EventCode,
    PersonalValue,
    render_references,
    with_values,
)
from connections.models.batches import (
    SENDABLE,
    Batch,
    BatchOrigin,
    BatchRow,
    BatchState,
    RowProblem,
    batch_approval_digest_of,
    batch_digest_of,
)
from connections.models.change_requests import (
    AMBIGUOUS,
    OPEN_STATES,
    ApprovalFields,
    AttemptFields,
    ChangeRequest,
    CommonOutcome,
    State,
    Step,
    approval_digest_of,
)
from connections.models.changes import Change, KnownConnection, Org
from connections.models.credentials import ApprovalPolicy, Credential
from connections.models.deletions import (
    GONE_OUTCOMES,
    RUN_BY_BATCH,
    Approval,
    Attempt,
    BreakGlassReview,
    Deletion,
    Outcome,
)
from connections.models.holds import Hold
from connections.models.notifications import Notification
from connections.models.org_connections import (
    SNAPSHOT_FIELD_NAMES,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Protection,
    ProtectionRemoval,
    SnapshotFields,
    Sync,
    SyncDay,
    SyncProblem,
    snapshot_digest,
)
from connections.models.people import Person, ProviderAccount, Role, SignInLink
from connections.models.problems import ProblemAcknowledgement
from connections.models.released_migrations import AppliedMigration
from connections.models.sessions import PersonSession
from connections.models.workers import (
    AUDIT_VERIFICATION,
    OrgRateLimit,
    PeriodicTask,
    WorkerHeartbeat,
)
