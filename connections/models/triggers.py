"""Triggers that refuse changes, from one declaration for SQLite and PostgreSQL."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

# The condition of a rule that always refuses.
NEVER = "1 = 0"


@dataclass(frozen=True)
class Rule:
    """Refuses an operation on a table's row unless the condition is true.

    `condition` is SQL about the rows OLD and NEW. NULL counts as false.
    """

    table: str
    name: str
    operation: Literal["INSERT", "UPDATE", "DELETE", "TRUNCATE"]
    condition: str
    message: str

    @property
    def trigger(self) -> str:
        return f"{self.table}_{self.name}"


def never_removed(table: str, message: str) -> tuple[Rule, Rule]:
    """Rules against DELETE and TRUNCATE."""
    return (
        Rule(table, "delete", "DELETE", NEVER, message),
        Rule(table, "truncate", "TRUNCATE", NEVER, message),
    )


def unchanged(*columns: str) -> str:
    """The condition that an UPDATE changes none of these columns."""
    return " AND ".join(f"NEW.{name} IS NOT DISTINCT FROM OLD.{name}" for name in columns)


def create_triggers(schema_editor: Any, rules: Iterable[Rule]) -> None:
    """Create the trigger of each rule and, on PostgreSQL, the function that it calls."""
    statements = _postgresql if schema_editor.connection.vendor == "postgresql" else _sqlite
    for rule in rules:
        _execute(schema_editor, statements(rule, schema_editor.connection))


def replace_triggers(schema_editor: Any, rules: Iterable[Rule]) -> None:
    """Give rules that an earlier migration created another condition.

    On PostgreSQL, only their functions are replaced, which needs no lock on the table.
    """
    for rule in rules:
        if schema_editor.connection.vendor == "postgresql":
            function, _ = _postgresql(rule, schema_editor.connection)
            _execute(schema_editor, [function])
        else:
            _execute(schema_editor, [f"DROP TRIGGER {rule.trigger}"])
            create_triggers(schema_editor, [rule])


def _execute(schema_editor: Any, statements: Iterable[str]) -> None:
    for statement in statements:
        # No parameters, so that percent signs are literal.
        schema_editor.execute(statement, params=None)


def _sqlite(rule: Rule, _connection: Any) -> list[str]:
    if rule.operation == "TRUNCATE":
        return []  # SQLite has no such statement
    # SQLite supports IS NOT DISTINCT FROM only since version 3.39.
    condition = rule.condition.replace("IS NOT DISTINCT FROM", "IS")
    return [
        f"CREATE TRIGGER {rule.trigger} BEFORE {rule.operation} ON {rule.table} "
        f"WHEN COALESCE(NOT ({condition}), 1) "
        f"BEGIN SELECT RAISE(ABORT, {_quoted(rule.message)}); END"
    ]


def _postgresql(rule: Rule, connection: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        [schema] = cursor.fetchone()
    row = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD", "TRUNCATE": "NULL"}[rule.operation]
    level = "STATEMENT" if rule.operation == "TRUNCATE" else "ROW"
    # By default, PostgreSQL searches the session's temporary tables first. One of them could then
    # replace a table that the condition reads.
    path = f"pg_catalog, {connection.ops.quote_name(schema)}, pg_temp"
    return [
        f"""
        CREATE OR REPLACE FUNCTION {rule.trigger}() RETURNS trigger LANGUAGE plpgsql
        SET search_path = {path} AS $$
        BEGIN
            IF ({rule.condition}) THEN RETURN {row}; END IF;
            RAISE EXCEPTION {_quoted(rule.message)} USING ERRCODE = 'restrict_violation';
        END $$
        """,
        f"CREATE TRIGGER {rule.trigger} BEFORE {rule.operation} ON {rule.table} "
        f"FOR EACH {level} EXECUTE FUNCTION {rule.trigger}()",
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
