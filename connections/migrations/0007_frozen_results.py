"""Let the database itself keep a settled deletion and its attempts as they were recorded."""

from typing import Any

from django.db import migrations

DELETION = "connections_deletion"
ATTEMPT = "connections_attempt"
PERSON = "connections_person"
TABLES = (ATTEMPT,)

# 0005_four_eyes freezes what was asked for; these were copied beside it and stay as well.
COPIED = (
    "credential_name, credential_fingerprint, snapshot_at, connection_created_at, creator_id, "
    "creator_name, creator_is_disabled, creator_is_service_account"
).split(", ")
# How it ended. Nothing leaves `settled`, so from then on these stay too.
SETTLED = (
    "state, outcome, cause, epoch, expires_at, confirmed_at, confirmed_by_id, approved_at, "
    "sending_at, settled_at, settled_reason, approval_round, glass_round"
).split(", ")
# Erasing a person replaces these by what stands for the person from then on.
NAMES = "requested_by_name, confirmed_by_name, glass_broken_by_name, settled_by_name".split(", ")
# A later listing may still verify or contradict the outcome, and comments are searched.
FREE = "due_at, looked_at, looked_present, search_text".split(", ")
RULED = "verified_at, contradicted_at, cause_details".split(", ")

CLAIMED = (
    "id, deletion_id, number, epoch, credential_name, credential_fingerprint, was_read_before, "
    "claimed_at, approval_round"
).split(", ")
RESPONSE = (
    "verdict, cause, answered_at, is_late, duration_ms, http_status, headers, body, body_sha256, "
    "body_is_complete, errors"
).split(", ")

# A gap in a listing proves it anew only after a listing that showed the connection again.
VERIFIED = (
    "(NEW.verified_at {same} OLD.verified_at OR OLD.verified_at IS NULL"
    " OR OLD.looked_present AND NEW.verified_at > OLD.verified_at)"
)
CONTRADICTED = "(NEW.contradicted_at {same} OLD.contradicted_at OR OLD.contradicted_at IS NULL)"
# Only the last look may be noted there; what a reading before the sending found stays.
LAST_LOOK = {
    "sqlite": "json_remove(NEW.cause_details, '$.last_look')"
    " = json_remove(OLD.cause_details, '$.last_look')",
    "postgresql": "NEW.cause_details - 'last_look' = OLD.cause_details - 'last_look'",
}
# Once a person is erased, their account "erased-7" stands beside the name "erased person no. 7".
ERASED = (
    "(NEW.{name} = OLD.{name} OR EXISTS (SELECT 1 FROM " + PERSON + " WHERE"
    " username = 'erased-' || substr(NEW.{name}, 19)"
    " AND NEW.{name} = 'erased person no. ' || substr(username, 8)))"
)
# SQLite's INSERT OR REPLACE removes the old row without any DELETE trigger; its hidden number is a
# key too.
NEW_ATTEMPT = (
    f"NOT EXISTS (SELECT 1 FROM {ATTEMPT} WHERE id = NEW.id OR rowid = NEW.rowid"
    " OR deletion_id = NEW.deletion_id AND (number = NEW.number OR epoch = NEW.epoch))"
)


def same(names: list[str], word: str) -> str:
    return " AND ".join(f"NEW.{name} {word} OLD.{name}" for name in names)


def rules(vendor: str) -> tuple[tuple[str, str, str, str], ...]:
    """Table, act, what must hold, and what is said when it does not."""
    # How this database compares values that may be NULL.
    word = "IS NOT DISTINCT FROM" if vendor == "postgresql" else "IS"
    settled = [
        same(SETTLED, word),
        VERIFIED.format(same=word),
        CONTRADICTED.format(same=word),
        LAST_LOOK[vendor],
        *(ERASED.format(name=name) for name in NAMES),
    ]
    recorded = (
        f"{same(RESPONSE, word)}"
        " OR OLD.answered_at IS NULL AND NEW.answered_at IS NOT NULL AND NEW.verdict <> ''"
    )
    return (
        (DELETION, "UPDATE", same(COPIED, word), "A deletion stays what was requested"),
        (
            DELETION,
            "UPDATE",
            f"OLD.state <> 'settled' OR {' AND '.join(settled)}",
            "A settled deletion stays as it was settled",
        ),
        (ATTEMPT, "UPDATE", same(CLAIMED, word), "An attempt stays as it was claimed"),
        (ATTEMPT, "UPDATE", recorded, "The response to an attempt is recorded once"),
        (ATTEMPT, "DELETE", "1 = 0", "An attempt is kept"),
    )


def sqlite() -> list[str]:
    replaced = (
        (ATTEMPT, "INSERT", NEW_ATTEMPT, "An attempt is kept"),
        (ATTEMPT, "UPDATE", "NEW.rowid = OLD.rowid", "An attempt is kept"),
    )
    return [
        f"CREATE TRIGGER {table}_frozen_{number} BEFORE {act} ON {table} "
        f"WHEN COALESCE(NOT ({condition}), 1) BEGIN SELECT RAISE(ABORT, '{said}'); END"
        for number, (table, act, condition, said) in enumerate((*rules("sqlite"), *replaced))
    ]


def postgresql() -> list[str]:
    statements = []
    for number, (table, act, condition, said) in enumerate(rules("postgresql")):
        name = f"{table}_frozen_{number}"
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
            statements.append(
                f"CREATE TRIGGER {name}_all BEFORE TRUNCATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
    return statements


def freeze(apps: Any, schema_editor: Any) -> None:
    make = postgresql if schema_editor.connection.vendor == "postgresql" else sqlite
    for statement in make():
        # Without parameters, so that a percent sign is one.
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("connections", "0006_approval_rounds")]

    operations = [
        # Not to be taken back: nothing else would keep what was recorded.
        migrations.RunPython(freeze),
    ]
