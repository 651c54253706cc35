"""Let an approval cover one confirmed sending: approvals, attempts and break glass get a round.

The triggers of 0005 that count approvals are replaced by ones that count the current round only,
and another one holds the round itself.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

DELETION = "connections_deletion"
APPROVAL = "connections_approval"
ATTEMPT = "connections_attempt"

GLASS = ("glass_broken_at", "glass_broken_by_id", "glass_reason", "glass_round")
DECIDED = (
    "id, deletion_id, approver_id, requester_id, round, decision, digest, reason, decided_at"
).split(", ")

GIVEN = (
    f"(SELECT COUNT(*) FROM {APPROVAL} WHERE deletion_id = NEW.id AND decision = 'approved'"
    " AND digest = NEW.approval_digest AND requester_id = NEW.requested_by_id"
    " AND round = NEW.approval_round)"
)
# The copies are the deletion's own values, and its current round still waits for a decision.
EQUAL_APPROVAL = (
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id"
    " AND state IN ('requested', 'still_present')"
    " AND requested_by_id = NEW.requester_id AND approval_digest = NEW.digest"
    " AND policy <> 'none' AND approval_round = NEW.round"
    " AND COALESCE(glass_round, 0) <> approval_round)"
)
EQUAL_ATTEMPT = (
    f"EXISTS (SELECT 1 FROM {DELETION} WHERE id = NEW.deletion_id"
    " AND approval_round = NEW.approval_round)"
)
# An attempt that Datadog may have carried out ends its round, so the round has no other after it.
# Looked at when the next one begins: an answer is stored only after its deletion has moved.
IN_DOUBT = (
    f"EXISTS (SELECT 1 FROM {ATTEMPT} WHERE deletion_id = NEW.id"
    " AND approval_round = NEW.approval_round"
    " AND (verdict IN ('', 'ambiguous') OR is_late))"
)
# After a sending, a round ends unless the result is known or the same sending is tried again.
ROUND = (
    "NEW.approval_round = OLD.approval_round AND (NEW.policy = 'none'"
    " OR (OLD.state NOT IN ('sending', 'waiting')"
    " OR NEW.state IN ('sending', 'waiting', 'settled'))"
    " AND (NEW.state <> 'sending' OR OLD.state = 'sending' AND NEW.epoch = OLD.epoch"
    f" OR NOT {IN_DOUBT}))"
    " OR NEW.approval_round = OLD.approval_round + 1"
    " AND (NEW.state = 'unknown' OR OLD.state = 'still_present' AND NEW.state = 'still_present')"
)
# SQLite's INSERT OR REPLACE removes the old row without any DELETE trigger; its hidden number is a
# key too.
NEW_APPROVAL = (
    f"NOT EXISTS (SELECT 1 FROM {APPROVAL} WHERE id = NEW.id OR rowid = NEW.rowid"
    " OR (deletion_id = NEW.deletion_id AND approver_id = NEW.approver_id AND round = NEW.round))"
)

# Where a trigger stands in the place of one of 0005, it has its name and its sentence.
GLASS_STAYS = (DELETION, 2, "UPDATE", "Broken glass stays broken")
HAS_APPROVALS = (DELETION, 3, "UPDATE", "Other people must approve it first")
APPROVAL_EQUAL = (APPROVAL, 4, "INSERT", "An approval is of one deletion as it was asked for")
APPROVAL_STAYS = (APPROVAL, 5, "UPDATE", "A decision stays as it was given")
APPROVAL_KEPT = (APPROVAL, 6, "DELETE", "A decision stays as it was given")
APPROVAL_NEW = (APPROVAL, 12, "INSERT", "There is one already")
APPROVAL_ROW = (APPROVAL, 13, "UPDATE", "There is one already")
ROUND_ENDS = (DELETION, 16, "UPDATE", "An approval covers one sending")
ATTEMPT_EQUAL = (ATTEMPT, 17, "INSERT", "A sending is of the deletion's current round")
REPLACED = (
    GLASS_STAYS,
    HAS_APPROVALS,
    APPROVAL_EQUAL,
    APPROVAL_STAYS,
    APPROVAL_KEPT,
    APPROVAL_NEW,
    APPROVAL_ROW,
)

type Rule = tuple[tuple[str, int, str, str], str]


def same(names: tuple[str, ...] | list[str], word: str) -> str:
    return " AND ".join(f"NEW.{name} {word} OLD.{name}" for name in names)


def rules(word: str) -> list[Rule]:
    """Each trigger with what must hold; `word` compares values that may be NULL."""
    may_break = (
        "OLD.glass_broken_at IS NULL AND OLD.state IN ('requested', 'still_present')"
        " AND NEW.glass_broken_at IS NOT NULL"
        # Without a round it replaces no approval.
        " AND COALESCE(NEW.glass_round, NEW.approval_round) = NEW.approval_round"
    )
    has_approvals = (
        "NEW.state NOT IN ('approved', 'sending') OR NEW.policy = 'none'"
        f" OR NEW.glass_round {word} NEW.approval_round OR {GIVEN} >="
        " CASE NEW.policy WHEN 'one' THEN 1 ELSE 2 END"
    )
    return [
        (GLASS_STAYS, f"({same(GLASS, word)}) OR ({may_break})"),
        (HAS_APPROVALS, has_approvals),
        (APPROVAL_EQUAL, EQUAL_APPROVAL),
        (APPROVAL_STAYS, same(DECIDED, word)),
        (ROUND_ENDS, ROUND),
        (ATTEMPT_EQUAL, EQUAL_ATTEMPT),
    ]


def name_of(trigger: tuple[str, int, str, str]) -> str:
    return f"{trigger[0]}_four_eyes_{trigger[1]}"


def let_go(apps: Any, schema_editor: Any) -> None:
    """On SQLite the table of approvals is made anew, which nothing may refer to meanwhile."""
    if schema_editor.connection.vendor == "sqlite":
        for trigger in REPLACED:
            schema_editor.execute(f"DROP TRIGGER {name_of(trigger)}", params=None)


def carry_over(apps: Any, schema_editor: Any) -> None:
    """Put what happened before rounds were kept into the rounds that its events tell of.

    What is in doubt was sent under the approvals it has, so that they are used up. All approvals
    and all broken glass are of the first round: both were possible only before the first sending.
    """
    schema_editor.execute(
        f"UPDATE {DELETION} SET glass_round = 1 WHERE glass_broken_at IS NOT NULL", params=None
    )
    events = apps.get_model("connections", "AuditEvent").objects.filter(subject_type="deletion")
    attempts = apps.get_model("connections", "Attempt").objects
    deletions = apps.get_model("connections", "Deletion").objects
    in_doubt = ("unknown", "still_present")
    deletions.filter(state__in=in_doubt).update(approval_round=2)
    # Only of these can a round have ended.
    several = events.filter(text__contains="unknown").values_list("subject_id", flat=True)
    for deletion_id in several.order_by("subject_id").distinct():
        own = events.filter(subject_id=deletion_id).order_by("seq").values_list("code", "text")
        current = 1
        for number, attempt, current in rounds_of(own):
            if attempt is not None and number > 1:
                attempts.filter(deletion_id=deletion_id, number=attempt).update(
                    approval_round=number
                )
        if current > 1:
            deletions.filter(pk=deletion_id).update(approval_round=current)


def rounds_of(events: Iterable[tuple[str, str]]) -> Iterator[tuple[int, int | None, int]]:
    """Of each event: its round, the attempt that it begins, and the round after it.

    The rule is that of connections/verifier/verify.py, which a record is compared by.
    """
    number, state = 1, "requested"
    for code, text in events:
        details = json.loads(text)["details"]
        before, state, own = state, details.get("state", state), number
        is_declined = code == "deletion.declined" and state == "still_present"
        is_over = state == "unknown" != before
        number += code == "deletion.approvals_lapsed" or is_declined or is_over
        yield own, details.get("attempt") if code == "deletion.sending" else None, number


def sqlite() -> list[str]:
    held: list[Rule] = [
        *rules("IS"),
        (APPROVAL_KEPT, "1 = 0"),
        (APPROVAL_NEW, NEW_APPROVAL),
        (APPROVAL_ROW, "NEW.rowid = OLD.rowid"),
    ]
    return [
        f"CREATE TRIGGER {name_of(trigger)} BEFORE {trigger[2]} ON {trigger[0]} "
        f"WHEN COALESCE(NOT ({condition}), 1) "
        f"BEGIN SELECT RAISE(ABORT, '{trigger[3].replace("'", "''")}'); END"
        for trigger, condition in held
    ]


def postgresql() -> list[str]:
    statements = []
    for trigger, condition in rules("IS NOT DISTINCT FROM"):
        name = name_of(trigger)
        statements.append(
            f"""
            CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF ({condition}) THEN RETURN NEW; END IF;
                RAISE EXCEPTION '{trigger[3].replace("'", "''")}'
                    USING ERRCODE = 'restrict_violation';
            END $$
            """
        )
        if trigger not in REPLACED:
            statements.append(
                f"CREATE TRIGGER {name} BEFORE {trigger[2]} ON {trigger[0]} "
                f"FOR EACH ROW EXECUTE FUNCTION {name}()"
            )
    return statements


def hold(apps: Any, schema_editor: Any) -> None:
    make = postgresql if schema_editor.connection.vendor == "postgresql" else sqlite
    for statement in make():
        # Without parameters, so that a percent sign is one.
        schema_editor.execute(statement, params=None)


class AddColumn(migrations.AddField):
    """AddField that never remakes the table on SQLite, which would drop its triggers."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        field = to_state.apps.get_model(app_label, self.model_name)._meta.get_field(self.name)
        BaseDatabaseSchemaEditor.add_field(schema_editor, model, field)


def round_field() -> Any:
    return models.PositiveIntegerField(db_default=1)


class Migration(migrations.Migration):
    dependencies = [("connections", "0005_four_eyes")]

    operations = [
        migrations.RunPython(let_go),
        AddColumn("deletion", "approval_round", round_field()),
        AddColumn("deletion", "glass_round", models.PositiveIntegerField(null=True)),
        AddColumn("attempt", "approval_round", round_field()),
        AddColumn("approval", "round", round_field()),
        migrations.RemoveConstraint("approval", "one_decision_each"),
        migrations.AddConstraint(
            "approval",
            models.UniqueConstraint(
                fields=["deletion", "approver", "round"], name="one_decision_each_round"
            ),
        ),
        migrations.RunPython(carry_over),
        # Not to be taken back: nothing else would hold what was approved.
        migrations.RunPython(hold),
    ]
