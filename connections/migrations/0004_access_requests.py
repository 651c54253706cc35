"""Access requests, whose keys a credential has, and deletions that no person requested.

Nothing in it stops release 1.1.0 from working: it only adds tables, and columns with a default, and
lets people approve a deletion without a requester, which that release never makes.
"""

import uuid

from django.conf import settings
from django.db.migrations import CreateModel, RunPython
from django.db.models import (
    PROTECT,
    BigAutoField,
    BinaryField,
    BooleanField,
    CharField,
    CheckConstraint,
    DateField,
    DateTimeField,
    F,
    ForeignKey,
    Index,
    JSONField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    Q,
    TextField,
    UniqueConstraint,
    UUIDField,
)

from connections.models.released_migrations import AddColumn, ReleasedMigration
from connections.models.triggers import (
    Rule,
    create_triggers,
    never_removed,
    replace_triggers,
    unchanged,
)

PERSON = settings.AUTH_USER_MODEL
REQUEST = "connections_accessrequest"
ATTEMPT = "connections_accessrequestattempt"
APPROVAL = "connections_accessrequestapproval"
PEOPLE = "connections_person"

# --- Access requests: the rules of a deletion in 0002, without bulk deletions and break glass ---

REQUESTED = (
    "id, request_id, kind, site, credential_id, digest, approval_digest, reason, ticket, policy, "
    "requested_at, requested_by_id, source_org_id, source_org_name, sink_org_id, sink_org_name, "
    "connection_types, types_after, owner_id, owner_text, purpose, ends_on, restored_from_id, "
    "moved_from, "
    "credential_name, credential_fingerprint, snapshot_at, connection_created_at, creator_id, "
    "creator_name, creator_is_disabled, creator_is_service_account"
).split(", ")
# It is known from the beginning, or once Datadog created the connection.
CONNECTION = (
    "NEW.connection_id IS NOT DISTINCT FROM OLD.connection_id"
    " OR NEW.kind IN ('create', 'restore')"
    " OR NEW.kind = 'move' AND NEW.removed_at IS NOT NULL"
)
APPROVALS_GIVEN = (
    f"(SELECT COUNT(*) FROM {APPROVAL} WHERE access_request_id = NEW.id"
    " AND decision = 'approved' AND digest = NEW.approval_digest"
    " AND requester_id = NEW.requested_by_id AND round = NEW.approval_round)"
)
HAS_APPROVALS = (
    "NEW.state NOT IN ('approved', 'waiting', 'sending') OR NEW.policy = 'none'"
    f" OR {APPROVALS_GIVEN} >= CASE NEW.policy WHEN 'one' THEN 1 ELSE 2 END"
)
MAY_HAVE_WORKED = (
    f"EXISTS (SELECT 1 FROM {ATTEMPT} WHERE access_request_id = NEW.id"
    " AND approval_round = NEW.approval_round"
    " AND (verdict IN ('', 'ambiguous') OR is_late))"
)
# A move is approved as a whole: its round ends when its DELETE had no effect, and covers the POST.
ROUND = (
    "NEW.approval_round = OLD.approval_round AND (NEW.policy = 'none'"
    " OR (OLD.state NOT IN ('sending', 'waiting')"
    " OR NEW.state IN ('sending', 'waiting', 'settled')"
    " OR NEW.kind = 'move' AND (NEW.state = 'unknown' OR NEW.removed_at IS NOT NULL))"
    " AND (NEW.state <> 'sending' OR OLD.state = 'sending' OR NEW.removed_at IS NOT NULL"
    f" OR NOT {MAY_HAVE_WORKED}))"
    " OR NEW.approval_round = OLD.approval_round + 1"
    " AND (NEW.state = 'unknown' AND NEW.kind <> 'move'"
    " OR NEW.state = 'no_effect' AND (OLD.state = 'no_effect' OR NEW.kind = 'move'))"
)
# The old connection of a move is deleted once, by its DELETE. Nothing follows an unknown result by
# itself but the POST after that.
REMOVED = (
    "NEW.removed_at IS NOT DISTINCT FROM OLD.removed_at"
    " AND (NEW.kind <> 'move' OR OLD.state <> 'unknown' OR NEW.state NOT IN ('waiting', 'sending'))"
    " OR OLD.removed_at IS NULL AND NEW.state = 'waiting'"
    f" AND EXISTS (SELECT 1 FROM {ATTEMPT} WHERE access_request_id = NEW.id AND method = 'DELETE'"
    " AND (verdict IN ('', 'ambiguous', 'deleted') OR is_late))"
)
CLAIMED_BY_ONE = "OLD.state <> 'sending' OR NEW.state <> 'sending' OR NEW.epoch = OLD.epoch"
SETTLED = (
    "state, outcome, cause, epoch, expires_at, confirmed_at, confirmed_by_id, approved_at, "
    "sending_at, settled_at, settled_reason, approval_round"
).split(", ")
VERIFIED = (
    "(NEW.verified_at IS NOT DISTINCT FROM OLD.verified_at OR OLD.verified_at IS NULL"
    " OR NEW.verified_at > OLD.verified_at)"
)
CONTRADICTED = (
    "(NEW.contradicted_at IS NOT DISTINCT FROM OLD.contradicted_at OR OLD.contradicted_at IS NULL)"
)
CAUSE_DETAILS = {
    "sqlite": "json_remove(NEW.cause_details, '$.last_check')"
    " = json_remove(OLD.cause_details, '$.last_check')",
    "postgresql": "NEW.cause_details - 'last_check' = OLD.cause_details - 'last_check'",
}
# Erasing a person replaces their name, as in 0002.
NAMES = "requested_by_name, confirmed_by_name, settled_by_name".split(", ")
NAME_UNCHANGED_OR_ERASED = (
    "(NEW.{name} = OLD.{name} OR EXISTS (SELECT 1 FROM " + PEOPLE + " WHERE"
    " username = 'erased-' || substr(NEW.{name}, 19)"
    " AND NEW.{name} = 'erased person no. ' || substr(username, 8)))"
)
CLAIMED = (
    "id, access_request_id, number, epoch, method, credential_name, credential_fingerprint, "
    "was_rechecked, claimed_at, approval_round"
).split(", ")
RESPONSE = (
    "verdict, cause, answered_at, is_late, duration_ms, http_status, headers, body, body_sha256, "
    "body_is_complete, errors"
).split(", ")
RESPONSE_RECORDED_ONCE = (
    f"{unchanged(*RESPONSE)}"
    " OR OLD.answered_at IS NULL AND NEW.answered_at IS NOT NULL AND NEW.verdict <> ''"
)
OF_CURRENT_ROUND = (
    f"EXISTS (SELECT 1 FROM {REQUEST} WHERE id = NEW.access_request_id"
    " AND approval_round = NEW.approval_round)"
)
AS_REQUESTED = (
    f"EXISTS (SELECT 1 FROM {REQUEST} WHERE id = NEW.access_request_id AND NEW.method = CASE kind"
    " WHEN 'create' THEN 'POST' WHEN 'restore' THEN 'POST' WHEN 'change' THEN 'PATCH'"
    " WHEN 'move' THEN CASE WHEN removed_at IS NULL THEN 'DELETE' ELSE 'POST' END END)"
)
DECIDED = (
    "id, access_request_id, approver_id, requester_id, round, decision, digest, reason, decided_at"
).split(", ")
APPROVES_REQUEST = (
    f"EXISTS (SELECT 1 FROM {REQUEST} WHERE id = NEW.access_request_id"
    " AND state IN ('requested', 'no_effect') AND requested_by_id = NEW.requester_id"
    " AND approval_digest = NEW.digest AND policy <> 'none' AND approval_round = NEW.round)"
)
# SQLite's REPLACE removes rows without calling a DELETE trigger.
REPLACED = {
    REQUEST: "id = NEW.id OR request_id = NEW.request_id OR NEW.state <> 'settled'"
    " AND state <> 'settled' AND site = NEW.site AND source_org_id = NEW.source_org_id"
    " AND sink_org_id = NEW.sink_org_id",
    APPROVAL: "id = NEW.id OR access_request_id = NEW.access_request_id"
    " AND approver_id = NEW.approver_id AND round = NEW.round",
    ATTEMPT: "id = NEW.id OR access_request_id = NEW.access_request_id"
    " AND (number = NEW.number OR epoch = NEW.epoch)",
}


def rules(vendor):
    """Every rule that this database checks with a trigger."""
    settled_kept = (
        unchanged(*SETTLED),
        VERIFIED,
        CONTRADICTED,
        CAUSE_DETAILS[vendor],
        *(NAME_UNCHANGED_OR_ERASED.format(name=name) for name in NAMES),
    )
    common = (
        Rule(REQUEST, "request", "UPDATE", unchanged(*REQUESTED), "What was requested is kept"),
        Rule(REQUEST, "connection", "UPDATE", CONNECTION, "What was requested is kept"),
        *never_removed(REQUEST, "An access request can't be removed"),
        Rule(REQUEST, "approvals", "UPDATE", HAS_APPROVALS, "It needs more approvals"),
        Rule(REQUEST, "round", "UPDATE", ROUND, "An approval covers one attempt"),
        Rule(REQUEST, "removed", "UPDATE", REMOVED, "Only a DELETE removes a connection"),
        Rule(REQUEST, "claimed", "UPDATE", CLAIMED_BY_ONE, "It is already being sent"),
        Rule(
            REQUEST,
            "settled",
            "UPDATE",
            f"OLD.state <> 'settled' OR {' AND '.join(settled_kept)}",
            "A settled access request can't be changed",
        ),
        Rule(APPROVAL, "request", "INSERT", APPROVES_REQUEST, "It must match the current request"),
        Rule(APPROVAL, "decision", "UPDATE", unchanged(*DECIDED), "A decision can't be changed"),
        *never_removed(APPROVAL, "A decision can't be removed"),
        Rule(ATTEMPT, "round", "INSERT", OF_CURRENT_ROUND, "It must belong to the current round"),
        Rule(ATTEMPT, "method", "INSERT", AS_REQUESTED, "It must be what was requested"),
        Rule(ATTEMPT, "claim", "UPDATE", unchanged(*CLAIMED), "A claimed attempt can't be changed"),
        Rule(
            ATTEMPT,
            "response",
            "UPDATE",
            RESPONSE_RECORDED_ONCE,
            "The response to an attempt can be recorded only once",
        ),
        *never_removed(ATTEMPT, "An attempt can't be removed or replaced"),
    )
    if vendor == "postgresql":
        return common
    return (
        *common,
        *(
            rule
            for table, same in REPLACED.items()
            for rule in (
                Rule(
                    table,
                    "replace_insert",
                    "INSERT",
                    f"NOT EXISTS (SELECT 1 FROM {table} WHERE {same})"
                    f" AND NOT EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid)",
                    "The row already exists",
                ),
                Rule(
                    table,
                    "replace_update",
                    "UPDATE",
                    "NEW.rowid = OLD.rowid",
                    "The row already exists",
                ),
            )
        ),
    )


# --- Deletions that Org Admin requests at an end: three rules of 0002, for no requester too ---

# With no requester to exclude, the approval of the person who confirms it doesn't count.
APPROVED_DELETION = (
    "(SELECT COUNT(*) FROM connections_approval WHERE deletion_id = NEW.id"
    " AND decision = 'approved' AND digest = NEW.approval_digest"
    " AND requester_id IS NOT DISTINCT FROM NEW.requested_by_id AND round = NEW.approval_round"
    " AND (NEW.requested_by_id IS NOT NULL"
    " OR NOT (approver_id IS NOT DISTINCT FROM NEW.confirmed_by_id)))"
)
DELETION_HAS_APPROVALS = (
    "NEW.state NOT IN ('approved', 'waiting', 'sending') OR NEW.policy = 'none'"
    " OR NEW.break_glass_round IS NOT DISTINCT FROM NEW.approval_round"
    f" OR {APPROVED_DELETION} >= CASE NEW.policy WHEN 'one' THEN 1 ELSE 2 END"
)
APPROVES_DELETION = (
    "EXISTS (SELECT 1 FROM connections_deletion WHERE id = NEW.deletion_id"
    " AND state IN ('requested', 'still_present')"
    " AND requested_by_id IS NOT DISTINCT FROM NEW.requester_id"
    " AND approval_digest = NEW.digest AND policy <> 'none' AND approval_round = NEW.round"
    " AND COALESCE(break_glass_round, 0) <> approval_round)"
)
REVIEWS_BROKEN_GLASS = (
    "EXISTS (SELECT 1 FROM connections_deletion WHERE id = NEW.deletion_id"
    " AND break_glass_by_id = NEW.breaker_id"
    " AND requested_by_id IS NOT DISTINCT FROM NEW.requester_id)"
)
REPLACED_RULES = (
    Rule(
        "connections_deletion",
        "approvals",
        "UPDATE",
        DELETION_HAS_APPROVALS,
        "The deletion needs more approvals",
    ),
    Rule(
        "connections_approval",
        "request",
        "INSERT",
        APPROVES_DELETION,
        "An approval must match the deletion's current request",
    ),
    Rule(
        "connections_breakglassreview",
        "glass",
        "INSERT",
        REVIEWS_BROKEN_GLASS,
        "A review must match the use of break glass",
    ),
)


def create_rules(apps, schema_editor):
    create_triggers(schema_editor, rules(schema_editor.connection.vendor))
    replace_triggers(schema_editor, REPLACED_RULES)


def index_search_text(apps, schema_editor):
    """The text search of access requests. As for changes, SQLite reads the table."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"CREATE INDEX access_request_search ON {REQUEST} USING gin (search_text gin_trgm_ops)"
        )


# --- The tables ---------------------------------------------------------------------------------


def person():
    return ForeignKey(PERSON, PROTECT, null=True, related_name="+")


def number():
    return BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


KINDS = [
    ("create", "Create"),
    ("change", "Change"),
    ("extend", "Extend"),
    ("restore", "Restore"),
    ("move", "Move"),
]
POLICIES = [
    ("none", "No approval required"),
    ("one", "1 approval required"),
    ("two", "2 approvals required"),
]
STATES = [
    ("requested", "Requested"),
    ("approved", "Approved"),
    ("sending", "Sending"),
    ("waiting", "Waiting"),
    ("unknown", "Unknown"),
    ("no_effect", "No Effect"),
    ("settled", "Settled"),
]
OUTCOMES = [
    ("created", "Created"),
    ("changed", "Changed"),
    ("extended", "Extended"),
    ("already_exists", "Already Exists"),
    ("already_as_requested", "Already As Requested"),
    ("exists_unattributed", "Exists Unattributed"),
    ("changed_elsewhere", "Changed Elsewhere"),
    ("gone", "Gone"),
    ("refused", "Refused"),
    ("not_sent", "Not Sent"),
    ("stale", "Stale"),
    ("declined", "Declined"),
    ("withdrawn", "Withdrawn"),
    ("expired", "Expired"),
    ("unresolved", "Unresolved"),
]


class Migration(ReleasedMigration):
    release = "1.2.0"
    dependencies = [("connections", "0003_agreements")]

    operations = [
        CreateModel(
            name="AccessRequest",
            fields=[
                ("source_org_id", CharField(blank=True, max_length=64)),
                ("source_org_name", CharField(blank=True, max_length=1000)),
                ("sink_org_id", CharField(blank=True, max_length=64)),
                ("sink_org_name", CharField(blank=True, max_length=1000)),
                ("connection_types", JSONField(default=list)),
                ("connection_created_at", DateTimeField(null=True)),
                ("creator_id", CharField(blank=True, max_length=64)),
                ("creator_name", CharField(blank=True, max_length=1000)),
                ("creator_is_disabled", BooleanField(null=True)),
                ("creator_is_service_account", BooleanField(null=True)),
                ("site", CharField(max_length=100)),
                (
                    "id",
                    UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("request_id", UUIDField(unique=True)),
                ("credential_name", CharField(max_length=100)),
                ("credential_fingerprint", CharField(max_length=12)),
                ("digest", CharField(max_length=64)),
                ("snapshot_at", DateTimeField(null=True)),
                ("reason", TextField()),
                ("ticket", CharField(blank=True, max_length=200)),
                ("policy", CharField(choices=POLICIES, max_length=8)),
                ("approval_digest", CharField(max_length=64)),
                ("cause", CharField(blank=True, max_length=40)),
                ("cause_details", JSONField(default=dict)),
                ("epoch", PositiveIntegerField(default=0)),
                ("due_at", DateTimeField(null=True)),
                ("expires_at", DateTimeField(null=True)),
                ("requested_at", DateTimeField()),
                ("requested_by", person()),
                ("requested_by_name", CharField(max_length=200)),
                ("confirmed_at", DateTimeField(null=True)),
                ("confirmed_by", person()),
                ("confirmed_by_name", CharField(blank=True, max_length=200)),
                ("approved_at", DateTimeField(null=True)),
                ("approval_round", PositiveIntegerField(db_default=1)),
                ("sending_at", DateTimeField(null=True)),
                ("settled_at", DateTimeField(null=True)),
                ("settled_by_name", CharField(blank=True, max_length=200)),
                ("settled_reason", TextField(blank=True)),
                ("search_text", TextField()),
                ("last_checked_at", DateTimeField(null=True)),
                ("last_check_listed", BooleanField(null=True)),
                ("verified_at", DateTimeField(null=True)),
                ("contradicted_at", DateTimeField(null=True)),
                ("kind", CharField(choices=KINDS, max_length=8)),
                (
                    "credential",
                    ForeignKey("connections.credential", PROTECT, related_name="access_requests"),
                ),
                ("connection_id", UUIDField(null=True)),
                ("types_after", JSONField()),
                ("owner", person()),
                ("owner_text", CharField(blank=True, max_length=200)),
                ("purpose", TextField()),
                ("ends_on", DateField(null=True)),
                (
                    "restored_from",
                    ForeignKey(
                        "connections.deletion", PROTECT, null=True, related_name="restored_by"
                    ),
                ),
                ("moved_from", UUIDField(null=True)),
                ("removed_at", DateTimeField(null=True)),
                (
                    "deletion",
                    ForeignKey(
                        "connections.deletion", PROTECT, null=True, related_name="ended_requests"
                    ),
                ),
                ("state", CharField(choices=STATES, default="requested", max_length=16)),
                ("outcome", CharField(blank=True, choices=OUTCOMES, max_length=20)),
                ("last_check_outcome", CharField(blank=True, max_length=20)),
            ],
            options={
                "ordering": ("-requested_at", "-id"),
                "abstract": False,
                "constraints": [
                    UniqueConstraint(
                        fields=["site", "source_org_id", "sink_org_id"],
                        condition=~Q(state="settled"),
                        name="one_open_access_request",
                    ),
                    CheckConstraint(
                        condition=Q(state="settled", settled_at__isnull=False) & ~Q(outcome="")
                        | ~Q(state="settled") & Q(outcome="", settled_at__isnull=True),
                        name="settled_access_request_has_an_outcome",
                    ),
                    CheckConstraint(
                        condition=Q(owner__isnull=False) | ~Q(owner_text=""),
                        name="an_access_request_has_an_owner",
                    ),
                    CheckConstraint(
                        condition=~Q(purpose=""), name="an_access_request_has_a_purpose"
                    ),
                ],
                "indexes": [
                    Index(fields=["-requested_at", "-id"], name="access_requests"),
                    Index(
                        fields=["site", "source_org_id", "sink_org_id", "-requested_at"],
                        name="access_requests_of_a_pair",
                    ),
                    Index(
                        fields=["due_at"],
                        condition=Q(due_at__isnull=False),
                        name="access_requests_due",
                    ),
                ],
            },
        ),
        CreateModel(
            name="AccessRequestAttempt",
            fields=[
                ("id", number()),
                (
                    "access_request",
                    ForeignKey("connections.accessrequest", PROTECT, related_name="attempts"),
                ),
                ("method", CharField(max_length=6)),
                ("number", PositiveSmallIntegerField()),
                ("epoch", PositiveIntegerField()),
                ("approval_round", PositiveIntegerField(db_default=1)),
                ("credential_name", CharField(max_length=100)),
                ("credential_fingerprint", CharField(max_length=12)),
                ("was_rechecked", BooleanField()),
                ("claimed_at", DateTimeField()),
                ("verdict", CharField(blank=True, max_length=20)),
                ("cause", CharField(blank=True, max_length=40)),
                ("answered_at", DateTimeField(null=True)),
                ("is_late", BooleanField(default=False)),
                ("duration_ms", PositiveIntegerField(null=True)),
                ("http_status", PositiveSmallIntegerField(null=True)),
                ("headers", JSONField(default=dict)),
                ("body", BinaryField(default=bytes)),
                ("body_sha256", CharField(blank=True, max_length=64)),
                ("body_is_complete", BooleanField(null=True)),
                ("errors", JSONField(default=list)),
            ],
            options={
                "ordering": ("number",),
                "abstract": False,
                "constraints": [
                    UniqueConstraint(
                        fields=["access_request", "number"], name="access_request_attempt_number"
                    ),
                    UniqueConstraint(
                        fields=["access_request", "epoch"],
                        name="one_access_request_attempt_per_claim",
                    ),
                ],
            },
        ),
        CreateModel(
            name="AccessRequestApproval",
            fields=[
                ("id", number()),
                (
                    "access_request",
                    ForeignKey("connections.accessrequest", PROTECT, related_name="approvals"),
                ),
                ("approver", ForeignKey(PERSON, PROTECT, related_name="+")),
                ("approver_name", CharField(max_length=200)),
                ("requester", person()),
                ("round", PositiveIntegerField(db_default=1)),
                (
                    "decision",
                    CharField(
                        choices=[("approved", "Approved"), ("declined", "Declined")], max_length=10
                    ),
                ),
                ("digest", CharField(max_length=64)),
                ("reason", TextField(blank=True)),
                ("decided_at", DateTimeField()),
            ],
            options={
                "ordering": ("decided_at", "id"),
                "abstract": False,
                "constraints": [
                    UniqueConstraint(
                        fields=["access_request", "approver", "round"],
                        name="one_decision_about_access_each_round",
                    ),
                    CheckConstraint(
                        condition=~Q(approver=F("requester")),
                        name="nobody_approves_their_own_access",
                    ),
                    CheckConstraint(
                        condition=~Q(decision="declined", reason=""),
                        name="declining_access_has_a_reason",
                    ),
                ],
            },
        ),
        AddColumn(
            "credential", "key_owner_id", CharField(blank=True, db_default="", max_length=64)
        ),
        AddColumn(
            "credential", "key_owner_name", CharField(blank=True, db_default="", max_length=200)
        ),
        AddColumn("credential", "key_owner_is_service_account", BooleanField(null=True)),
        AddColumn("credential", "person_can_create", BooleanField(db_default=False)),
        RunPython(create_rules),
        RunPython(index_search_text),
    ]
