"""Corrections of what Org Admin does by itself, before release 1.2.0.

Nothing in it stops release 1.1.0 from working: it only adds tables, and columns with a default.
"""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module

from django.conf import settings
from django.db.migrations import (
    AddIndex,
    AlterField,
    CreateModel,
    RunPython,
    SeparateDatabaseAndState,
)
from django.db.models import (
    PROTECT,
    BigAutoField,
    BooleanField,
    CharField,
    CheckConstraint,
    DateField,
    DateTimeField,
    F,
    ForeignKey,
    Index,
    JSONField,
    Max,
    Min,
    Q,
    TextField,
    UniqueConstraint,
    UUIDField,
)
from django.db.models.functions import TruncDate

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
DELETION = "connections_deletion"


def number():
    return BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


# --- When each org was synced, by day ---


def record_days(apps, schema_editor):
    """From the syncs that are still stored."""
    complete = apps.get_model("connections", "Sync").objects.filter(is_complete=True)
    days = complete.values(
        site=F("credential__site"),
        org_id=F("credential__org_id"),
        day=TruncDate("finished_at", tzinfo=UTC),
    ).annotate(first_at=Min("finished_at"), newest_at=Max("finished_at"))
    sync_day = apps.get_model("connections", "SyncDay")
    sync_day.objects.bulk_create([sync_day(**day) for day in days.order_by()], batch_size=500)


# --- The step of a move ---

STEP = (
    "NEW.step = CASE WHEN NEW.kind <> 'move' THEN '' WHEN NEW.removed_at IS NULL THEN 'DELETE'"
    " ELSE 'POST' END"
)


def step_rules():
    message = "The step of a move follows from when its connection was deleted"
    return (
        Rule(REQUEST, "step_insert", "INSERT", STEP, message),
        Rule(REQUEST, "step_update", "UPDATE", STEP, message),
    )


def store_steps(apps, schema_editor):
    """The cause of an open move stays as its events have it, until its next step."""
    moves = apps.get_model("connections", "AccessRequest").objects.filter(kind="move")
    moves.filter(removed_at=None).update(step="DELETE")
    moves.exclude(removed_at=None).update(step="POST")


# --- Holds: each is released once, and nothing else of it changes ---

HOLD = "connections_hold"
HOLD_COLUMNS = "id, kind, reason, checkpoint, put_on_at, put_on_by_id".split(", ")
HOLD_KEPT = "A hold can only be released"


def hold_rules(vendor):
    is_new = "NEW.released_at IS NULL"
    is_released = "OLD.released_at IS NULL AND NEW.released_at IS NOT NULL"
    is_released += f" AND {unchanged(*HOLD_COLUMNS)}"
    if vendor == "sqlite":
        is_new += f" AND NOT EXISTS (SELECT 1 FROM {HOLD} WHERE id = NEW.id)"
        is_new += f" AND NOT EXISTS (SELECT 1 FROM {HOLD} WHERE rowid = NEW.rowid)"
        is_new += (
            f" AND NOT EXISTS (SELECT 1 FROM {HOLD} WHERE kind = NEW.kind AND released_at IS NULL)"
        )
        is_released += " AND NEW.rowid = OLD.rowid"
    return (
        Rule(HOLD, "insert", "INSERT", is_new, HOLD_KEPT),
        Rule(HOLD, "release", "UPDATE", is_released, HOLD_KEPT),
        *never_removed(HOLD, HOLD_KEPT),
    )


# --- The ends of access: when each is due, and the deletions that Org Admin requests then ---

APPROVALS_OF = {
    # With no requester to exclude, the approval of the person who confirms it doesn't count.
    "the deletion": "(SELECT COUNT(*) FROM connections_approval WHERE deletion_id = NEW.id"
    " AND decision = 'approved' AND digest = NEW.approval_digest"
    " AND requester_id IS NOT DISTINCT FROM NEW.requested_by_id AND round = NEW.approval_round"
    " AND (NEW.requested_by_id IS NOT NULL"
    " OR NOT (approver_id IS NOT DISTINCT FROM NEW.confirmed_by_id)))",
    # Whoever approved the access approved its end too: for one attempt that no person confirmed.
    "the access": "(SELECT COUNT(DISTINCT approval.approver_id)"
    " FROM connections_accessrequestapproval AS approval"
    " JOIN connections_accessrequest AS access ON access.id = approval.access_request_id"
    " WHERE access.deletion_id = NEW.id AND approval.decision = 'approved'"
    " AND approval.digest = access.approval_digest AND NEW.automatic AND NEW.approval_round = 1"
    " AND NEW.confirmed_by_id IS NULL)",
}
NEEDED = "CASE NEW.policy WHEN 'one' THEN 1 ELSE 2 END"
DELETION_HAS_APPROVALS = (
    "NEW.state NOT IN ('approved', 'waiting', 'sending') OR NEW.policy = 'none'"
    " OR NEW.break_glass_round IS NOT DISTINCT FROM NEW.approval_round"
    f" OR {APPROVALS_OF['the deletion']} >= {NEEDED} OR {APPROVALS_OF['the access']} >= {NEEDED}"
)
REPLACED_END_RULES = (
    Rule(
        DELETION,
        "approvals",
        "UPDATE",
        DELETION_HAS_APPROVALS,
        "The deletion needs more approvals",
    ),
)


def end_rules():
    message = "The request of a deletion can't be changed"
    return (Rule(DELETION, "automatic", "UPDATE", unchanged("automatic"), message),)


def make_ends_due(apps, schema_editor):
    """On the day after the end that was requested, or after an earlier one that is agreed.

    Also those that have passed, or that a later request replaced: a worker leaves out what is over.
    """
    agreed = {}
    agreement = apps.get_model("connections", "Agreement")
    columns = ("site", "source_org_id", "sink_org_id", "ends_on")
    for *pair, ends_on in agreement.objects.order_by("version").values_list(*columns):
        agreed[tuple(pair)] = ends_on
    completed = ("created", "changed", "extended", "exists_unattributed", "already_exists")
    requests = apps.get_model("connections", "AccessRequest").objects
    for row in requests.filter(outcome__in=completed):
        pair = (row.site, row.source_org_id, row.sink_org_id)
        days = [day for day in (row.ends_on, agreed.get(pair)) if day]
        if days:
            day = min(*days, date.max - timedelta(days=1))
            after = datetime.combine(day + timedelta(days=1), time.min, UTC)
            requests.filter(pk=row.pk).update(end_due_at=after)


# --- The fault of an access request, which is longer than the column was ---


def widen_faults(apps, schema_editor):
    """SQLite has no limit, and rebuilding the table would drop its triggers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "ALTER TABLE connections_auditverification ALTER COLUMN fault TYPE varchar(40)"
        )


# --- The owner who decides on a row of an access review, fixed when that starts ---

released = import_module("connections.migrations.0002_database_rules")
ROW_OWNER_CHANGES = (
    f"{unchanged(*released.POPULATION, 'closed_as')} AND NEW.closed_as = ''"
    f" AND EXISTS (SELECT 1 FROM {released.ACCESS_REVIEW}"
    " WHERE id = NEW.review_id AND state = 'open')"
)
REPLACED_REVIEW_RULES = (
    Rule(
        released.REVIEW_ROW,
        "closing",
        "UPDATE",
        f"({released.CLOSES_ROW} AND {unchanged('owner_id')}) OR ({ROW_OWNER_CHANGES})",
        "Only the closing changes a row of an access review",
    ),
    Rule(
        released.REVIEW_DECISION,
        "decision",
        "UPDATE",
        f"{released.REVIEW_DECISION_KEPT} AND {unchanged('owner_id')}",
        "A decision of an access review can't be changed",
    ),
)


# --- Which fields of its agreement a request leaves as agreed is kept like all that it names ---

AS_AGREED = Rule(
    REQUEST, "as_agreed", "UPDATE", unchanged("as_agreed"), "What was requested is kept"
)


# --- A protection also blocks requests that take data types, or the connection, away ---

REMOVES_TYPES = {
    "sqlite": "EXISTS (SELECT 1 FROM json_each(request.connection_types) AS had WHERE had.value"
    " NOT IN (SELECT value FROM json_each(request.types_after)))",
    "postgresql": "NOT request.types_after @> request.connection_types",
}


def protection_rules(vendor):
    takes_away = f"request.kind = 'move' AND request.removed_at IS NULL OR {REMOVES_TYPES[vendor]}"
    is_unprotected = (
        f"NOT EXISTS (SELECT 1 FROM {REQUEST} AS request JOIN connections_protection AS held"
        " ON held.site = request.site AND held.connection_id = request.connection_id"
        f" WHERE request.id = NEW.access_request_id AND ({takes_away})"
        " AND NOT EXISTS (SELECT 1 FROM connections_protectionremoval"
        " WHERE protection_id = held.id))"
    )
    message = "The connection is protected"
    return (Rule(f"{REQUEST}attempt", "protection", "INSERT", is_unprotected, message),)


# --- An extension needs the approvals too, although nothing is sent ---

access_requests = import_module("connections.migrations.0004_access_requests")
EXTENSION_HAS_APPROVALS = Rule(
    REQUEST,
    "approvals",
    "UPDATE",
    f"({access_requests.HAS_APPROVALS}) AND (NEW.outcome <> 'extended' OR NEW.policy = 'none'"
    f" OR {access_requests.APPROVALS_GIVEN} >= {NEEDED})",
    "It needs more approvals",
)


# --- The rules in the database ---


def rules(vendor):
    """Every rule that this database checks with a trigger."""
    return (
        *step_rules(),
        *hold_rules(vendor),
        *end_rules(),
        *protection_rules(vendor),
        AS_AGREED,
    )


def create_rules(apps, schema_editor):
    create_triggers(schema_editor, rules(schema_editor.connection.vendor))
    replaced = (*REPLACED_END_RULES, *REPLACED_REVIEW_RULES, EXTENSION_HAS_APPROVALS)
    replace_triggers(schema_editor, replaced)


def person():
    return ForeignKey(PERSON, PROTECT, null=True, related_name="+")


class Migration(ReleasedMigration):
    release = "1.2.0"
    dependencies = [("connections", "0004_access_requests")]

    operations = [
        CreateModel(
            name="SyncDay",
            fields=[
                ("id", number()),
                ("site", CharField(max_length=100)),
                ("org_id", CharField(max_length=64)),
                ("day", DateField()),
                ("first_at", DateTimeField()),
                ("newest_at", DateTimeField()),
            ],
            options={
                "constraints": [
                    UniqueConstraint(fields=["site", "org_id", "day"], name="one_sync_day")
                ]
            },
        ),
        RunPython(record_days),
        AddColumn(
            "accessrequest",
            "step",
            CharField(
                blank=True,
                choices=[("DELETE", "Delete"), ("POST", "Post")],
                db_default="",
                default="",
                max_length=6,
            ),
        ),
        RunPython(store_steps),
        CreateModel(
            name="Hold",
            fields=[
                (
                    "id",
                    UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    CharField(
                        max_length=20,
                        choices=[
                            ("restored", "Restored"),
                            ("older_database", "Older Database"),
                            ("by_hand", "By Hand"),
                        ],
                    ),
                ),
                ("reason", TextField()),
                ("checkpoint", TextField(blank=True)),
                ("put_on_at", DateTimeField()),
                ("put_on_by", person()),
                ("released_at", DateTimeField(null=True)),
                ("released_by", person()),
            ],
            options={
                "ordering": ("-put_on_at", "-id"),
                "constraints": [
                    UniqueConstraint(
                        fields=["kind"],
                        condition=Q(released_at=None),
                        name="one_hold_of_a_kind_is_on",
                    ),
                    CheckConstraint(condition=~Q(reason=""), name="a_hold_has_a_reason"),
                ],
            },
        ),
        AddColumn("accessrequest", "end_due_at", DateTimeField(null=True)),
        AddIndex(
            "accessrequest",
            Index(
                fields=["end_due_at"], condition=Q(end_due_at__isnull=False), name="access_ends_due"
            ),
        ),
        RunPython(make_ends_due),
        AddColumn("deletion", "automatic", BooleanField(null=True)),
        SeparateDatabaseAndState(
            [RunPython(widen_faults)],
            [AlterField("auditverification", "fault", CharField(blank=True, max_length=40))],
        ),
        # --- The owner who decides on a row of an access review ---
        AddColumn("accessreview", "has_fixed_owners", BooleanField(null=True)),
        AddColumn("accessreviewrow", "owner", person()),
        AddColumn("accessreviewdecision", "owner", person()),
        AddColumn("accessrequest", "as_agreed", JSONField(db_default=[], default=list)),
        RunPython(create_rules),
        # --- When a worker checks the keys of each credential again ---
        AddColumn("credential", "key_check_due_at", DateTimeField(null=True)),
    ]
