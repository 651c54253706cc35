"""What the database has in addition to the models: roles, cache table, search indexes, triggers,
and how often PostgreSQL vacuums the snapshots.

The triggers refuse what would make the record false: changing or removing what was recorded,
approvals that don't count, and sending without the approvals that a deletion needs. The migration
can't be reversed, because the tables would then contain rows that nothing protects.
"""

import secrets

from django.core.management import call_command
from django.db import migrations

from connections.models.released_migrations import ReleasedMigration
from connections.models.triggers import NEVER, Rule, create_triggers, never_removed, unchanged

ROLES = ("Viewer", "Operator", "Approver", "Credential manager", "Auditor")
CACHE_TABLE = "orgadmin_cache"

EVENT = "connections_auditevent"
HEAD = "connections_audithead"
CHECKPOINT = "connections_checkpoint"
VERIFICATION = "connections_auditverification"
VALUE = "connections_personalvalue"
PROTECTION = "connections_protection"
LIFTING = "connections_protectionremoval"
DELETION = "connections_deletion"
ATTEMPT = "connections_attempt"
APPROVAL = "connections_approval"
REVIEW = "connections_breakglassreview"
PERSON = "connections_person"
CHANGE = "connections_change"
SNAPSHOT = "connections_orgconnectionsnapshot"
BATCH = "connections_batch"
BATCH_ROW = "connections_batchrow"
ACCESS_REVIEW = "connections_accessreview"
REVIEWER = "connections_accessreviewreviewer"
REVIEW_ROW = "connections_accessreviewrow"
REVIEW_DECISION = "connections_accessreviewdecision"


# --- Text search: FTS5 trigrams on SQLite, pg_trgm on PostgreSQL ---

SEARCH = {
    "sqlite": (
        """
        CREATE VIRTUAL TABLE connections_deletion_search
        USING fts5(deletion_id UNINDEXED, search_text, tokenize = 'trigram')
        """,
        """
        CREATE TRIGGER connections_deletion_search_insert AFTER INSERT ON connections_deletion
        BEGIN
            INSERT INTO connections_deletion_search (deletion_id, search_text)
            VALUES (NEW.id, NEW.search_text);
        END
        """,
        # A comment only adds to the text, so what the older row finds stays correct.
        """
        CREATE TRIGGER connections_deletion_search_update
        AFTER UPDATE OF search_text ON connections_deletion
        BEGIN
            INSERT INTO connections_deletion_search (deletion_id, search_text)
            VALUES (NEW.id, NEW.search_text);
        END
        """,
        # An index without a copy of the text. Its row number is the event's number.
        """
        CREATE VIRTUAL TABLE connections_auditevent_search
        USING fts5(sentence, content = 'connections_auditevent', content_rowid = 'seq',
                   columnsize = 0, tokenize = 'trigram')
        """,
        # References are shortened, because their first letters would be in nearly every sentence.
        """
        CREATE TRIGGER connections_auditevent_search_insert AFTER INSERT ON connections_auditevent
        BEGIN
            INSERT INTO connections_auditevent_search (rowid, sentence)
            VALUES (NEW.seq, REPLACE(REPLACE(NEW.sentence, '{name:', '{'), '{address:', '{'));
        END
        """,
    ),
    "postgresql": (
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        """
        CREATE INDEX deletion_search ON connections_deletion
        USING gin (search_text gin_trgm_ops)
        """,
        """
        CREATE INDEX event_search ON connections_auditevent
        USING gin (UPPER(sentence) gin_trgm_ops)
        """,
        """
        CREATE INDEX change_search ON connections_change
        USING gin (search_text gin_trgm_ops)
        """,
    ),
}


# --- SQLite's REPLACE removes the old row without calling a DELETE trigger ---

# The hidden row number is a key too.
SAME_ROWID = "NEW.rowid = OLD.rowid"


def new_rowid(table):
    return f"NOT EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid)"


def never_replaced(table, existing, message):
    """Refuse a row that has the same key as an existing one."""
    is_new = f"NOT EXISTS (SELECT 1 FROM {table} WHERE {existing})"
    return (
        Rule(table, "replace_insert", "INSERT", f"{is_new} AND {new_rowid(table)}", message),
        Rule(table, "replace_update", "UPDATE", SAME_ROWID, message),
    )


# --- Append-only tables ---


def append_only(vendor, table, insert, update=NEVER):
    """Only let rows be added if `insert` holds, and changed if `update` holds."""
    if vendor == "sqlite":
        insert = f"({insert}) AND {new_rowid(table)}"
        update = f"({update}) AND {SAME_ROWID}"
    conditions = {"INSERT": insert, "UPDATE": update, "DELETE": NEVER, "TRUNCATE": NEVER}
    return [
        Rule(
            table,
            operation.lower(),
            operation,
            condition,
            f"The table is append-only: {operation} on {table}",
        )
        for operation, condition in conditions.items()
    ]


NEXT_EVENT = f"NEW.seq = (SELECT COALESCE(MAX(seq), 0) + 1 FROM {EVENT})"
NEXT_VALUE = f"NEW.number = (SELECT COALESCE(MAX(number), 0) + 1 FROM {VALUE})"
ERASES_VALUE = (
    "OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL AND NEW.value = '' AND NEW.salt = ''"
    f" AND {unchanged('number', 'person_number', 'person_id', 'kind', 'commitment')}"
)
ONLY_HEAD = f"NOT EXISTS (SELECT 1 FROM {HEAD}) AND NEW.size = 0"
HEAD_ADVANCES = (
    f"{unchanged('id', 'origin')} AND NEW.size > OLD.size"
    f" AND NEW.size = (SELECT MAX(seq) FROM {EVENT})"
)
NEW_CHECKPOINT = (
    f"NOT EXISTS (SELECT 1 FROM {CHECKPOINT} WHERE id = NEW.id"
    " OR (size = NEW.size AND fingerprint = NEW.fingerprint))"
)
NEW_VERIFICATION = f"NOT EXISTS (SELECT 1 FROM {VERIFICATION} WHERE id = NEW.id)"
# Only one protection at a time: the previous one must have been removed.
NEW_PROTECTION = (
    f"NOT EXISTS (SELECT 1 FROM {PROTECTION} WHERE id = NEW.id)"
    f" AND NOT EXISTS (SELECT 1 FROM {PROTECTION} AS held WHERE held.site = NEW.site"
    " AND held.connection_id = NEW.connection_id AND (held.number >= NEW.number"
    f" OR NOT EXISTS (SELECT 1 FROM {LIFTING} WHERE protection_id = held.id)))"
)
# Another person removes it, and the copy of who protected it must be correct.
NEW_LIFTING = (
    f"NOT EXISTS (SELECT 1 FROM {LIFTING} WHERE id = NEW.id OR protection_id = NEW.protection_id)"
    " AND NEW.removed_by_id <> NEW.protector_id AND NEW.protector_id ="
    f" (SELECT protected_by_id FROM {PROTECTION} WHERE id = NEW.protection_id)"
)

# Numbers follow the order of commits, so that a reader who requests newer changes misses none.
NEW_CHANGE = (
    f"NEW.number = (SELECT COALESCE(MAX(number), 0) + 1 FROM {CHANGE})"
    f" AND NEW.acknowledged_at IS NULL AND NOT EXISTS (SELECT 1 FROM {CHANGE} WHERE id = NEW.id)"
)
CHANGED = (
    "id, number, kind, site, connection_id, org_id, org_name, source_org_id, source_org_name, "
    "sink_org_id, sink_org_name, before, after, widened, newly_visible, needs_attention, "
    "earliest_at, detected_at, recorded_at, deletion_id, observed_by, not_checked_by, search_text"
).split(", ")
ACKNOWLEDGES = (
    f"OLD.acknowledged_at IS NULL AND NEW.acknowledged_at IS NOT NULL AND {unchanged(*CHANGED)}"
)


# --- Deletions ---

# What was requested, by whom, and under which policy.
REQUESTED = (
    "id, request_id, site, connection_id, credential_id, is_reviewed, digest, approval_digest, "
    "reason, ticket, policy, requested_at, requested_by_id, source_org_id, source_org_name, "
    "sink_org_id, sink_org_name, connection_types, batch_id, batch_row_id"
).split(", ")
# What was copied along with it.
COPIED = (
    "credential_name, credential_fingerprint, snapshot_at, connection_created_at, creator_id, "
    "creator_name, creator_is_disabled, creator_is_service_account"
).split(", ")
GLASS = "break_glass_at, break_glass_by_id, break_glass_reason, break_glass_round".split(", ")
MAY_BREAK_GLASS = (
    "OLD.break_glass_at IS NULL AND OLD.state IN ('requested', 'still_present')"
    " AND NEW.break_glass_at IS NOT NULL"
    # Without a round, it replaces no approval.
    " AND COALESCE(NEW.break_glass_round, NEW.approval_round) = NEW.approval_round"
)
APPROVALS_GIVEN = (
    f"(SELECT COUNT(*) FROM {APPROVAL} WHERE deletion_id = NEW.id AND decision = 'approved'"
    " AND digest = NEW.approval_digest AND requester_id = NEW.requested_by_id"
    " AND round = NEW.approval_round)"
)
HAS_APPROVALS = (
    "NEW.state NOT IN ('approved', 'waiting', 'sending') OR NEW.policy = 'none'"
    " OR NEW.break_glass_round IS NOT DISTINCT FROM NEW.approval_round"
    f" OR {APPROVALS_GIVEN} >= CASE NEW.policy WHEN 'one' THEN 1 ELSE 2 END"
)
# An attempt that Datadog might have carried out ends its round, so no other attempt follows it in
# that round. This is checked when the next attempt begins, because a response is stored only after
# its deletion has changed state.
MAY_HAVE_WORKED = (
    f"EXISTS (SELECT 1 FROM {ATTEMPT} WHERE deletion_id = NEW.id"
    " AND approval_round = NEW.approval_round"
    " AND (verdict IN ('', 'ambiguous') OR is_late))"
)
# After an attempt, a round ends unless the result is known or the attempt is retried.
ROUND = (
    "NEW.approval_round = OLD.approval_round AND (NEW.policy = 'none'"
    " OR (OLD.state NOT IN ('sending', 'waiting')"
    " OR NEW.state IN ('sending', 'waiting', 'settled'))"
    " AND (NEW.state <> 'sending' OR OLD.state = 'sending'"
    f" OR NOT {MAY_HAVE_WORKED}))"
    " OR NEW.approval_round = OLD.approval_round + 1"
    " AND (NEW.state = 'unknown' OR OLD.state = 'still_present' AND NEW.state = 'still_present')"
)

# While one process sends it, no other can claim it.
CLAIMED_BY_ONE = "OLD.state <> 'sending' OR NEW.state <> 'sending' OR NEW.epoch = OLD.epoch"

# A bulk deletion's row is sent only from its queue, and only while the bulk deletion is running.
# After an unknown outcome, it is in a later round, which the bulk deletion no longer controls.
IS_LET_BY_BATCH = (
    "NEW.state <> 'sending' OR OLD.state = 'sending' OR NEW.batch_id IS NULL"
    " OR NEW.approval_round <> 1 OR OLD.state = 'waiting'"
    f" AND EXISTS (SELECT 1 FROM {BATCH} WHERE id = NEW.batch_id AND state = 'running')"
)

# How a deletion ended. A closed deletion never changes its state, so these stay from then on.
SETTLED = (
    "state, outcome, cause, epoch, expires_at, confirmed_at, confirmed_by_id, approved_at, "
    "sending_at, settled_at, settled_reason, approval_round, break_glass_round"
).split(", ")
# A list without it verifies it again only after a list that showed the connection again.
VERIFIED = (
    "(NEW.verified_at IS NOT DISTINCT FROM OLD.verified_at OR OLD.verified_at IS NULL"
    " OR OLD.last_check_listed AND NEW.verified_at > OLD.verified_at)"
)
CONTRADICTED = (
    "(NEW.contradicted_at IS NOT DISTINCT FROM OLD.contradicted_at OR OLD.contradicted_at IS NULL)"
)
# Only the last check can be recorded there. What a pre-send check found stays.
CAUSE_DETAILS = {
    "sqlite": "json_remove(NEW.cause_details, '$.last_check')"
    " = json_remove(OLD.cause_details, '$.last_check')",
    "postgresql": "NEW.cause_details - 'last_check' = OLD.cause_details - 'last_check'",
}
# Erasing a person replaces their name with "erased person no. 7", and their account is then
# "erased-7".
NAMES = "requested_by_name, confirmed_by_name, break_glass_by_name, settled_by_name".split(", ")
NAME_UNCHANGED_OR_ERASED = (
    "(NEW.{name} = OLD.{name} OR EXISTS (SELECT 1 FROM " + PERSON + " WHERE"
    " username = 'erased-' || substr(NEW.{name}, 19)"
    " AND NEW.{name} = 'erased person no. ' || substr(username, 8)))"
)


def unchanged_or_erased(*names):
    return " AND ".join(NAME_UNCHANGED_OR_ERASED.format(name=name) for name in names)


def settled_unchanged(vendor):
    kept = (
        unchanged(*SETTLED),
        VERIFIED,
        CONTRADICTED,
        CAUSE_DETAILS[vendor],
        unchanged_or_erased(*NAMES),
    )
    return f"OLD.state <> 'settled' OR {' AND '.join(kept)}"


# --- Attempts, approvals and reviews of break glass ---

CLAIMED = (
    "id, deletion_id, number, epoch, credential_name, credential_fingerprint, was_rechecked, "
    "claimed_at, approval_round"
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
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id"
    " AND approval_round = NEW.approval_round)"
)
DECIDED = (
    "id, deletion_id, approver_id, requester_id, round, decision, digest, reason, decided_at"
).split(", ")
# The copies have the deletion's own values, and its current round still waits for a decision.
APPROVES_REQUEST = (
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id"
    " AND state IN ('requested', 'still_present')"
    " AND requested_by_id = NEW.requester_id AND approval_digest = NEW.digest"
    " AND policy <> 'none' AND approval_round = NEW.round"
    " AND COALESCE(break_glass_round, 0) <> approval_round)"
)
REVIEWED = "deletion_id, reviewer_id, breaker_id, requester_id, note, reviewed_at".split(", ")
REVIEWS_BROKEN_GLASS = (
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id"
    " AND break_glass_by_id = NEW.breaker_id AND requested_by_id = NEW.requester_id)"
)


# --- Bulk deletions and their plans ---

# What was requested and approved.
PLAN = (
    "id, origin, filter_text, site, org_id, org_name, access_review_id, digest, policy, reason, "
    "ticket, stop_at_first_problem, approval_digest, created_at, created_by_id, requested_at, "
    "requested_by_id"
).split(", ")
PLAN_KEPT = f"OLD.state = 'draft' OR NEW.state <> 'draft' AND {unchanged(*PLAN)}"
BATCH_CONFIRMED_ONCE = (
    f"OLD.confirmed_at IS NULL OR {unchanged('confirmed_at', 'confirmed_by_id', 'approved_at')}"
)
BATCH_ENDED = (
    "state, ended_at, ended_reason, approved_at, confirmed_at, confirmed_by_id, paused_at, "
    "resumed_at"
).split(", ")
BATCH_STAYS_ENDED = f"OLD.ended_at IS NULL OR {unchanged(*BATCH_ENDED)}"
BATCH_ROW_NAMED = "id, batch_id, position, text, site, connection_id".split(", ")
BATCH_ROW_PLANNED = (
    "digest, snapshot_at, credential_id, problem, removed_at, source_org_id, source_org_name, "
    "sink_org_id, sink_org_name, connection_types, connection_created_at, creator_id, "
    "creator_name, creator_is_disabled, creator_is_service_account"
).split(", ")
OF_DRAFT = f"EXISTS (SELECT 1 FROM {BATCH} WHERE id = NEW.batch_id AND state = 'draft')"
ROW_PLANNED_IN_DRAFT = (
    f"{unchanged(*BATCH_ROW_NAMED)} AND ({OF_DRAFT} OR {unchanged(*BATCH_ROW_PLANNED)})"
)


# --- Access reviews ---

# What was frozen at the start.
STARTED = (
    "id, name, scope, due_at, row_count, without_reviewer, coverage, "
    "created_at, created_by_id"
).split(", ")
CLOSED = (
    "state, is_for_everyone, closed_at, closed_by_id, open_reason, closing_digest, appeared, "
    "coverage_at_close, week_reminder_at, day_reminder_at, overdue_reminder_at"
).split(", ")
REVIEW_KEPT = f"{unchanged(*STARTED)} AND {unchanged_or_erased('created_by_name')}"
# Named reviewers can replace everyone, but not the other way around.
STAYS_NAMED = f"OLD.is_for_everyone OR {unchanged('is_for_everyone')}"
STAYS_CLOSED = (
    f"OLD.state = 'open' OR {unchanged(*CLOSED)} AND {unchanged_or_erased('closed_by_name')}"
)
# Every row has its final state, and a reason says why some are pending.
CLOSES_COMPLETE = (
    "NEW.state = 'open' OR OLD.state = 'closed'"
    f" OR NOT EXISTS (SELECT 1 FROM {REVIEW_ROW} WHERE review_id = NEW.id"
    " AND (closed_as = '' OR closed_as = 'pending' AND NEW.open_reason = ''))"
)
# The reviewers of an open access review can be replaced, if it has named ones.
NAMED_WHILE_OPEN = (
    f"EXISTS (SELECT 1 FROM {ACCESS_REVIEW} WHERE id = NEW.review_id AND state = 'open'"
    " AND NOT is_for_everyone)"
)
REMOVED_WHILE_OPEN = (
    f"EXISTS (SELECT 1 FROM {ACCESS_REVIEW} WHERE id = OLD.review_id AND state = 'open')"
)
REVIEWER_KEPT = f"{unchanged('id', 'review_id', 'person_id')} AND {unchanged_or_erased('name')}"
# Positions are unique, so no row can follow the last one.
IN_POPULATION = (
    f"NEW.closed_as = '' AND EXISTS (SELECT 1 FROM {ACCESS_REVIEW} WHERE id = NEW.review_id"
    " AND state = 'open' AND NEW.position BETWEEN 1 AND row_count)"
)
POPULATION = (
    "id, review_id, position, site, connection_id, digest, snapshot_at, review_digest, "
    "source_org_id, source_org_name, sink_org_id, sink_org_name, connection_types, "
    "connection_created_at, creator_id, creator_name, creator_is_disabled, "
    "creator_is_service_account"
).split(", ")
CLOSES_ROW = (
    f"{unchanged(*POPULATION)} AND OLD.closed_as = ''"
    f" AND EXISTS (SELECT 1 FROM {ACCESS_REVIEW} WHERE id = NEW.review_id AND state = 'open')"
    " AND (NEW.closed_as IN ('pending', 'gone') OR NEW.closed_as ="
    f" (SELECT decision FROM {REVIEW_DECISION} WHERE row_id = NEW.id ORDER BY id DESC LIMIT 1))"
)
DECIDES_OPEN_ROW = (
    f"EXISTS (SELECT 1 FROM {REVIEW_ROW} AS decided JOIN {ACCESS_REVIEW} AS review"
    " ON review.id = decided.review_id WHERE decided.id = NEW.row_id"
    " AND decided.closed_as = '' AND review.state = 'open')"
)
REVIEW_DECIDED = (
    "id, row_id, decision, reason, keep_until, covered, review_digest, decided_at, decided_by_id, "
    "decided_together"
).split(", ")
REVIEW_DECISION_KEPT = (
    f"{unchanged(*REVIEW_DECIDED)} AND {unchanged_or_erased('decided_by_name')}"
)


# --- The rules: table, name, operation, condition, message ---


def rules(vendor):
    """Every rule that this database checks with a trigger."""
    common = (
        *append_only(vendor, EVENT, NEXT_EVENT),
        *append_only(vendor, VALUE, NEXT_VALUE, ERASES_VALUE),
        *append_only(vendor, HEAD, ONLY_HEAD, HEAD_ADVANCES),
        *append_only(vendor, CHECKPOINT, NEW_CHECKPOINT),
        *append_only(vendor, VERIFICATION, NEW_VERIFICATION),
        *append_only(vendor, PROTECTION, NEW_PROTECTION),
        *append_only(vendor, LIFTING, NEW_LIFTING),
        *append_only(vendor, CHANGE, NEW_CHANGE, ACKNOWLEDGES),
        Rule(
            DELETION,
            "request",
            "UPDATE",
            unchanged(*REQUESTED),
            "The request of a deletion can't be changed",
        ),
        *never_removed(DELETION, "A deletion can't be removed"),
        Rule(
            DELETION,
            "glass",
            "UPDATE",
            f"({unchanged(*GLASS)}) OR ({MAY_BREAK_GLASS})",
            "The use of break glass can't be changed",
        ),
        Rule(DELETION, "approvals", "UPDATE", HAS_APPROVALS, "The deletion needs more approvals"),
        Rule(
            DELETION,
            "batch",
            "UPDATE",
            IS_LET_BY_BATCH,
            "Its bulk deletion must be running",
        ),
        Rule(DELETION, "round", "UPDATE", ROUND, "An approval covers one attempt"),
        Rule(
            DELETION,
            "copies",
            "UPDATE",
            unchanged(*COPIED),
            "The copied fields of a deletion can't be changed",
        ),
        Rule(
            DELETION,
            "claimed",
            "UPDATE",
            CLAIMED_BY_ONE,
            "A deletion that is being sent can't be claimed again",
        ),
        Rule(
            DELETION,
            "settled",
            "UPDATE",
            settled_unchanged(vendor),
            "A settled deletion can't be changed",
        ),
        Rule(
            APPROVAL,
            "request",
            "INSERT",
            APPROVES_REQUEST,
            "An approval must match the deletion's current request",
        ),
        Rule(APPROVAL, "decision", "UPDATE", unchanged(*DECIDED), "A decision can't be changed"),
        *never_removed(APPROVAL, "A decision can't be removed"),
        Rule(
            REVIEW,
            "glass",
            "INSERT",
            REVIEWS_BROKEN_GLASS,
            "A review must match the use of break glass",
        ),
        Rule(REVIEW, "review", "UPDATE", unchanged(*REVIEWED), "A review can't be changed"),
        *never_removed(REVIEW, "A review can't be removed"),
        Rule(
            ATTEMPT,
            "round",
            "INSERT",
            OF_CURRENT_ROUND,
            "An attempt must belong to the deletion's current round",
        ),
        Rule(ATTEMPT, "claim", "UPDATE", unchanged(*CLAIMED), "A claimed attempt can't be changed"),
        Rule(
            ATTEMPT,
            "response",
            "UPDATE",
            RESPONSE_RECORDED_ONCE,
            "The response to an attempt can be recorded only once",
        ),
        Rule(BATCH, "plan", "UPDATE", PLAN_KEPT, "A plan can't be changed once it is requested"),
        Rule(
            BATCH,
            "confirmation",
            "UPDATE",
            BATCH_CONFIRMED_ONCE,
            "A bulk deletion is confirmed once",
        ),
        Rule(
            BATCH,
            "ended",
            "UPDATE",
            BATCH_STAYS_ENDED,
            "A bulk deletion that has ended can't be changed",
        ),
        *never_removed(BATCH, "A bulk deletion can't be removed"),
        Rule(BATCH_ROW, "draft", "INSERT", OF_DRAFT, "Only a draft gets rows"),
        Rule(
            BATCH_ROW,
            "plan",
            "UPDATE",
            ROW_PLANNED_IN_DRAFT,
            "A plan can't be changed once it is requested",
        ),
        *never_removed(BATCH_ROW, "A row of a plan can't be removed"),
        *never_removed(ATTEMPT, "An attempt can't be removed or replaced"),
        Rule(ACCESS_REVIEW, "open", "INSERT", "NEW.state = 'open'", "An access review starts open"),
        Rule(
            ACCESS_REVIEW,
            "start",
            "UPDATE",
            REVIEW_KEPT,
            "What an access review started with can't be changed",
        ),
        Rule(
            ACCESS_REVIEW,
            "named",
            "UPDATE",
            STAYS_NAMED,
            "An access review with named reviewers keeps them",
        ),
        Rule(
            ACCESS_REVIEW,
            "closed",
            "UPDATE",
            STAYS_CLOSED,
            "A closed access review can't be changed",
        ),
        Rule(
            ACCESS_REVIEW,
            "complete",
            "UPDATE",
            CLOSES_COMPLETE,
            "An access review closes with the final state of every row",
        ),
        *never_removed(ACCESS_REVIEW, "An access review can't be removed"),
        Rule(
            REVIEWER,
            "named_while_open",
            "INSERT",
            NAMED_WHILE_OPEN,
            "Only an open access review with named reviewers gets another reviewer",
        ),
        Rule(REVIEWER, "named", "UPDATE", REVIEWER_KEPT, "A reviewer can't be changed"),
        Rule(
            REVIEWER,
            "delete",
            "DELETE",
            REMOVED_WHILE_OPEN,
            "A reviewer of a closed access review can't be removed",
        ),
        Rule(REVIEWER, "truncate", "TRUNCATE", NEVER, "A reviewer can't be removed"),
        Rule(
            REVIEW_ROW,
            "population",
            "INSERT",
            IN_POPULATION,
            "The population of an access review can't grow",
        ),
        Rule(
            REVIEW_ROW,
            "closing",
            "UPDATE",
            CLOSES_ROW,
            "Only the closing changes a row of an access review",
        ),
        *never_removed(REVIEW_ROW, "A row of an access review can't be removed"),
        Rule(
            REVIEW_DECISION,
            "open",
            "INSERT",
            DECIDES_OPEN_ROW,
            "A closed access review gets no decision",
        ),
        Rule(
            REVIEW_DECISION,
            "decision",
            "UPDATE",
            REVIEW_DECISION_KEPT,
            "A decision of an access review can't be changed",
        ),
        *never_removed(REVIEW_DECISION, "A decision of an access review can't be removed"),
    )
    if vendor == "postgresql":
        return common
    return (
        *common,
        *never_replaced(
            DELETION,
            "id = NEW.id OR request_id = NEW.request_id OR NEW.state <> 'settled'"
            " AND site = NEW.site AND connection_id = NEW.connection_id AND state <> 'settled'",
            "The row already exists",
        ),
        *never_replaced(
            APPROVAL,
            "id = NEW.id OR deletion_id = NEW.deletion_id AND approver_id = NEW.approver_id"
            " AND round = NEW.round",
            "The row already exists",
        ),
        *never_replaced(BATCH, "id = NEW.id", "A bulk deletion can't be removed"),
        *never_replaced(
            BATCH_ROW,
            "id = NEW.id OR batch_id = NEW.batch_id AND (position = NEW.position"
            " OR site = NEW.site AND connection_id = NEW.connection_id"
            " AND problem <> 'duplicate' AND NEW.problem <> 'duplicate')",
            "A row of a plan can't be removed",
        ),
        *never_replaced(ACCESS_REVIEW, "id = NEW.id", "An access review can't be removed"),
        *never_replaced(
            REVIEWER,
            "id = NEW.id OR review_id = NEW.review_id AND person_id = NEW.person_id",
            "A reviewer can't be removed",
        ),
        *never_replaced(
            REVIEW_ROW,
            "id = NEW.id OR review_id = NEW.review_id AND (position = NEW.position"
            " OR site = NEW.site AND connection_id = NEW.connection_id)",
            "A row of an access review can't be removed",
        ),
        *never_replaced(
            REVIEW_DECISION, "id = NEW.id", "A decision of an access review can't be removed"
        ),
        *never_replaced(REVIEW, "deletion_id = NEW.deletion_id", "The row already exists"),
        *never_replaced(
            ATTEMPT,
            "id = NEW.id OR deletion_id = NEW.deletion_id"
            " AND (number = NEW.number OR epoch = NEW.epoch)",
            "An attempt can't be removed or replaced",
        ),
    )


# --- The migration ---


def create_groups(apps, schema_editor):
    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    for name in ROLES:
        groups.get_or_create(name=name)


def create_cache_table(apps, schema_editor):
    call_command(
        "createcachetable", CACHE_TABLE, database=schema_editor.connection.alias, verbosity=0
    )


def create_search_indexes(apps, schema_editor):
    for statement in SEARCH[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def vacuum_after_each_sync(apps, schema_editor):
    """Let autovacuum follow each sync, which updates every current snapshot.

    By default, it waits until a fifth of the table changed. Old snapshots stay, so that would take
    several syncs, and until then index-only scans also read rows.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"ALTER TABLE {SNAPSHOT} SET (autovacuum_vacuum_scale_factor = 0.02)"
        )


def start_audit_log(apps, schema_editor):
    """Store the head of the empty log, with a name that no other installation has."""
    heads = apps.get_model("connections", "AuditHead").objects
    heads.using(schema_editor.connection.alias).create(
        origin=f"orgadmin/{secrets.token_hex(8)}", hash="0" * 64
    )


def create_rules(apps, schema_editor):
    create_triggers(schema_editor, rules(schema_editor.connection.vendor))


class Migration(ReleasedMigration):
    release = "1.0.0"
    dependencies = [("connections", "0001_initial")]

    operations = [
        migrations.RunPython(create_groups),
        migrations.RunPython(create_cache_table),
        migrations.RunPython(create_search_indexes),
        migrations.RunPython(vacuum_after_each_sync),
        migrations.RunPython(start_audit_log),
        migrations.RunPython(create_rules),
    ]
