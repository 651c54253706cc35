"""Let the database itself hold a deletion to what was asked for, and four eyes to two people."""

from typing import Any

from django.db import migrations

DELETION = "connections_deletion"
APPROVAL = "connections_approval"
REVIEW = "connections_glassreview"
TABLES = (DELETION, APPROVAL, REVIEW)

# What was asked for, by whom, under which policy. Names of people may be erased.
ASKED = (
    "id, request_id, site, connection_id, credential_id, is_reviewed, digest, approval_digest, "
    "reason, ticket, policy, requested_at, requested_by_id, source_org_id, source_org_name, "
    "sink_org_id, sink_org_name, connection_types"
).split(", ")
GLASS = ("glass_broken_at", "glass_broken_by_id", "glass_reason")
DECIDED = "id, deletion_id, approver_id, requester_id, decision, digest, reason, decided_at"
LOOKED_BACK = "deletion_id, reviewer_id, breaker_id, requester_id, note, reviewed_at"

GIVEN = (
    f"(SELECT COUNT(*) FROM {APPROVAL} WHERE deletion_id = NEW.id AND decision = 'approved'"
    " AND digest = NEW.approval_digest AND requester_id = NEW.requested_by_id)"
)
# The copies are the deletion's own values, and it still waits for a decision.
EQUAL_APPROVAL = (
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id AND state = 'requested'"
    " AND requested_by_id = NEW.requester_id AND approval_digest = NEW.digest"
    " AND policy <> 'none' AND glass_broken_at IS NULL)"
)
EQUAL_REVIEW = (
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id"
    " AND glass_broken_by_id = NEW.breaker_id AND requested_by_id = NEW.requester_id)"
)
# SQLite's INSERT OR REPLACE removes the old row without any DELETE trigger; its hidden number is a
# key too.
NEW_ROWS = {
    DELETION: f"NOT EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.id"
    " OR request_id = NEW.request_id) AND (NEW.state = 'settled' OR NOT EXISTS (SELECT 1 FROM"
    f" {DELETION} WHERE site = NEW.site AND connection_id = NEW.connection_id"
    " AND state <> 'settled'))",
    APPROVAL: f"NOT EXISTS (SELECT 1 FROM {APPROVAL} WHERE id = NEW.id"
    " OR (deletion_id = NEW.deletion_id AND approver_id = NEW.approver_id))",
    REVIEW: f"NOT EXISTS (SELECT 1 FROM {REVIEW} WHERE deletion_id = NEW.deletion_id)",
}


def same(names: tuple[str, ...] | list[str], word: str) -> str:
    return " AND ".join(f"NEW.{name} {word} OLD.{name}" for name in names)


def rules(word: str) -> tuple[tuple[str, str, str, str], ...]:
    """Table, act, what must hold, and what is said when it does not.

    `word` is how this database compares values that may be NULL.
    """
    may_break = f"(OLD.glass_broken_at IS NULL AND OLD.state = 'requested' OR {same(GLASS, word)})"
    has_approvals = (
        "NEW.state NOT IN ('approved', 'sending') OR NEW.policy = 'none'"
        f" OR NEW.glass_broken_at IS NOT NULL OR {GIVEN} >="
        " CASE NEW.policy WHEN 'one' THEN 1 ELSE 2 END"
    )
    return (
        (DELETION, "UPDATE", same(ASKED, word), "A deletion stays what was asked for"),
        (DELETION, "DELETE", "1 = 0", "A deletion stays what was asked for"),
        (DELETION, "UPDATE", may_break, "Broken glass stays broken"),
        (DELETION, "UPDATE", has_approvals, "Other people must approve it first"),
        (APPROVAL, "INSERT", EQUAL_APPROVAL, "An approval is of one deletion as it was asked for"),
        (APPROVAL, "UPDATE", same(DECIDED.split(", "), word), "A decision stays as it was given"),
        (APPROVAL, "DELETE", "1 = 0", "A decision stays as it was given"),
        (REVIEW, "INSERT", EQUAL_REVIEW, "A review is of one deletion as its glass was broken"),
        (REVIEW, "UPDATE", same(LOOKED_BACK.split(", "), word), "A review stays as it was given"),
        (REVIEW, "DELETE", "1 = 0", "A review stays as it was given"),
    )


def sqlite() -> list[str]:
    replaced = [
        (table, act, condition, "There is one already")
        for table, new in NEW_ROWS.items()
        for act, condition in (
            ("INSERT", f"{new} AND NOT EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid)"),
            ("UPDATE", "NEW.rowid = OLD.rowid"),
        )
    ]
    return [
        f"CREATE TRIGGER {table}_four_eyes_{number} BEFORE {act} ON {table} "
        f"WHEN COALESCE(NOT ({condition}), 1) BEGIN SELECT RAISE(ABORT, '{said}'); END"
        for number, (table, act, condition, said) in enumerate((*rules("IS"), *replaced))
    ]


def postgresql() -> list[str]:
    statements = []
    for number, (table, act, condition, said) in enumerate(rules("IS NOT DISTINCT FROM")):
        name = f"{table}_four_eyes_{number}"
        row = "OLD" if act == "DELETE" else "NEW"
        statements += [
            f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF ({condition}) THEN RETURN {row}; END IF;
                RAISE EXCEPTION '{said}' USING ERRCODE = 'restrict_violation';
            END $$
            """,
            f"CREATE TRIGGER {name} BEFORE {act} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
        if act == "DELETE":
            # There is no OLD row then, so that nothing holds.
            statements.append(
                f"CREATE TRIGGER {name}_all BEFORE TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
    return statements


def hold(apps: Any, schema_editor: Any) -> None:
    make = postgresql if schema_editor.connection.vendor == "postgresql" else sqlite
    for statement in make():
        # Without parameters, so that a percent sign is one.
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("connections", "0004_append_only")]

    operations = [
        # Not to be taken back: nothing else would hold what was approved.
        migrations.RunPython(hold),
    ]
