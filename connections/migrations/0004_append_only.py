"""Let the database itself refuse to change or remove what is recorded, and begin the chain."""

import secrets
from typing import Any

from django.db import migrations

EVENT = "connections_auditevent"
VALUE = "connections_erasablevalue"
HEAD = "connections_audithead"
CHECKPOINT = "connections_checkpoint"
VERIFICATION = "connections_auditverification"
PROTECTION = "connections_protection"
LIFTING = "connections_protectionlifting"
REFUSED = "The record of acts is append-only"

# Each holds of an INSERT that adds to the end. On SQLite they also stop INSERT OR REPLACE, which
# removes the old row without any DELETE trigger.
NEXT_EVENT = f"NEW.seq = (SELECT COALESCE(MAX(seq), 0) + 1 FROM {EVENT})"
NEXT_VALUE = f"NEW.number = (SELECT COALESCE(MAX(number), 0) + 1 FROM {VALUE})"
ONLY_HEAD = f"NOT EXISTS (SELECT 1 FROM {HEAD}) AND NEW.size = 0"
NEW_CHECKPOINT = (
    f"NOT EXISTS (SELECT 1 FROM {CHECKPOINT} WHERE id = NEW.id"
    " OR (size = NEW.size AND fingerprint = NEW.fingerprint))"
)
NEW_VERIFICATION = f"NOT EXISTS (SELECT 1 FROM {VERIFICATION} WHERE id = NEW.id)"
# One at a time: the one before must be lifted.
NEW_PROTECTION = (
    f"NOT EXISTS (SELECT 1 FROM {PROTECTION} WHERE id = NEW.id)"
    f" AND NOT EXISTS (SELECT 1 FROM {PROTECTION} AS held WHERE held.site = NEW.site"
    " AND held.connection_id = NEW.connection_id AND (held.number >= NEW.number"
    f" OR NOT EXISTS (SELECT 1 FROM {LIFTING} WHERE protection_id = held.id)))"
)
# By somebody else, and the copy of who protected it must be true.
NEW_LIFTING = (
    f"NOT EXISTS (SELECT 1 FROM {LIFTING} WHERE id = NEW.id OR protection_id = NEW.protection_id)"
    " AND NEW.lifted_by_id <> NEW.protector_id AND NEW.protector_id ="
    f" (SELECT protected_by_id FROM {PROTECTION} WHERE id = NEW.protection_id)"
)

# What an UPDATE may do; nothing at all where none is named.
FORWARD = (
    "NEW.id = OLD.id AND NEW.origin = OLD.origin AND NEW.size > OLD.size"
    f" AND NEW.size = (SELECT MAX(seq) FROM {EVENT})"
)
ERASING = (
    "OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL AND NEW.value = '' AND NEW.salt = ''"
    " AND NEW.number = OLD.number AND NEW.person_number = OLD.person_number"
    " AND NEW.person_id {same} OLD.person_id AND NEW.kind = OLD.kind"
    " AND NEW.commitment = OLD.commitment"
)

RULES = (
    (EVENT, NEXT_EVENT, None),
    (VALUE, NEXT_VALUE, ERASING),
    (HEAD, ONLY_HEAD, FORWARD),
    (CHECKPOINT, NEW_CHECKPOINT, None),
    (VERIFICATION, NEW_VERIFICATION, None),
    (PROTECTION, NEW_PROTECTION, None),
    (LIFTING, NEW_LIFTING, None),
)


def sqlite(table: str, insert: str, update: str | None) -> list[str]:
    # A row's hidden number is a key too, and REPLACE removes the row that had it.
    new_rowid = f"NOT EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid)"
    update = (update or "0").format(same="IS")
    allowed = {
        "INSERT": f"{insert} AND {new_rowid}",
        "UPDATE": f"{update} AND NEW.rowid = OLD.rowid",
        "DELETE": "0",
    }
    return [
        f"CREATE TRIGGER {table}_{act.lower()} BEFORE {act} ON {table} "
        f"WHEN COALESCE(NOT ({condition}), 1) "
        f"BEGIN SELECT RAISE(ABORT, '{REFUSED}: {act} on {table}'); END"
        for act, condition in allowed.items()
    ]


def postgresql(table: str, insert: str, update: str | None) -> list[str]:
    same = (update or "FALSE").format(same="IS NOT DISTINCT FROM")
    return [
        f"""
        CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF {insert} THEN RETURN NEW; END IF;
            ELSIF TG_OP = 'UPDATE' THEN
                IF {same} THEN RETURN NEW; END IF;
            END IF;
            RAISE EXCEPTION '{REFUSED}: % on {table}', TG_OP USING ERRCODE = 'restrict_violation';
        END $$
        """,
        f"CREATE TRIGGER {table}_rows BEFORE INSERT OR UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_append_only()",
        f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()",
    ]


def begin(apps: Any, schema_editor: Any) -> None:
    head = apps.get_model("connections", "AuditHead")
    head.objects.using(schema_editor.connection.alias).create(
        origin=f"orgadmin/{secrets.token_hex(8)}", hash="0" * 64
    )


def refuse_changes(apps: Any, schema_editor: Any) -> None:
    make = postgresql if schema_editor.connection.vendor == "postgresql" else sqlite
    for rule in RULES:
        for statement in make(*rule):
            # Without parameters, so that a percent sign is one.
            schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("connections", "0003_history_search")]

    operations = [
        # Not to be taken back: there is no way that keeps the record.
        migrations.RunPython(begin),
        migrations.RunPython(refuse_changes),
    ]
