"""Where the functions behind PostgreSQL's triggers look up the tables they name."""

from typing import Any

# Of every trigger in the schema in which Django makes its tables: its function's signature,
# unless that function names a path of its own already.
_WITHOUT_PATH = """
    SELECT DISTINCT function.oid::regprocedure::text
    FROM pg_catalog.pg_trigger AS trigger
    JOIN pg_catalog.pg_class AS guarded ON guarded.oid = trigger.tgrelid
    JOIN pg_catalog.pg_namespace AS schema ON schema.oid = guarded.relnamespace
    JOIN pg_catalog.pg_proc AS function ON function.oid = trigger.tgfoid
    WHERE NOT trigger.tgisinternal AND schema.nspname = current_schema()
    AND NOT EXISTS (
        SELECT 1 FROM unnest(function.proconfig) AS setting WHERE setting LIKE 'search_path=%'
    )
    ORDER BY 1
"""


def functions_without_search_path(cursor: Any) -> list[str]:
    """The trigger functions that would look up a table in whatever schema the session puts first.

    PostgreSQL looks in the session's temporary tables before all others, unless told otherwise.
    """
    # Without parameters, so that a percent sign is one.
    cursor.execute(_WITHOUT_PATH, None)
    return [signature for (signature,) in cursor.fetchall()]


def fix_search_path(apps: Any, schema_editor: Any) -> None:
    """Let every trigger function look in our own schema, and in temporary tables last.

    A migration that makes a trigger function, or replaces one, ends with this. SQLite has no such
    functions.
    """
    if schema_editor.connection.vendor != "postgresql":
        return
    quote = schema_editor.connection.ops.quote_name
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        [schema] = cursor.fetchone()
        for signature in functions_without_search_path(cursor):
            cursor.execute(
                f"ALTER FUNCTION {signature} SET search_path = pg_catalog, {quote(schema)}, pg_temp"
            )
