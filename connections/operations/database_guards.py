"""What the database itself must refuse, and what the service's own role must not be able to do."""

from collections.abc import Iterator

from django.db import connection

from connections.operations.findings import Finding
from connections.operations.findings import error as _error
from connections.operations.findings import ok as _ok
from connections.operations.findings import warning as _warning

_APPEND_ONLY = (
    "auditevent",
    "auditverification",
    "audithead",
    "checkpoint",
    "erasablevalue",
    "protection",
    "protectionlifting",
)
# Every trigger that the migrations leave behind, without "connections_"; a test holds this to it.
TRIGGERS = {
    "sqlite": frozenset(
        [
            *(f"{table}_{act}" for table in _APPEND_ONLY for act in ("insert", "update", "delete")),
            *(f"deletion_four_eyes_{number}" for number in (0, 1, 2, 3, 10, 11, 16)),
            "attempt_four_eyes_17",
            *(f"approval_four_eyes_{number}" for number in (4, 5, 6, 12, 13)),
            *(f"glassreview_four_eyes_{number}" for number in (7, 8, 9, 14, 15)),
            *(f"deletion_frozen_{number}" for number in (0, 1)),
            *(f"attempt_frozen_{number}" for number in (2, 3, 4, 5, 6)),
            "deletion_search_insert",
            "deletion_search_update",
            "auditevent_search_insert",
        ]
    ),
    "postgresql": frozenset(
        [
            *(f"{table}_{when}" for table in _APPEND_ONLY for when in ("rows", "truncate")),
            *(f"deletion_four_eyes_{number}" for number in ("0", "1", "1_all", "2", "3", "16")),
            "attempt_four_eyes_17",
            *(f"approval_four_eyes_{number}" for number in ("4", "5", "6", "6_all")),
            *(f"glassreview_four_eyes_{number}" for number in ("7", "8", "9", "9_all")),
            *(f"deletion_frozen_{number}" for number in ("0", "1")),
            *(f"attempt_frozen_{number}" for number in ("2", "3", "4", "4_all")),
        ]
    ),
}
PREFIX = "connections_"
# Name, and whether it works for every session.
_PRESENT = {
    "sqlite": "SELECT name, 1 FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": (
        "SELECT tgname, tgenabled IN ('O', 'A') FROM pg_catalog.pg_trigger"
        " JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid"
        " WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace"
    ),
}
_MAY = """
    SELECT has_database_privilege(current_database(), 'TEMPORARY'),
        has_schema_privilege(current_schema(), 'CREATE'),
        EXISTS (
            SELECT 1 FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p')
            AND relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')
        )
"""
_ROLE_HINT = "docs/OPERATIONS.md, “A role that cannot rewrite the record”, has the SQL."


def present_triggers() -> dict[str, bool]:
    """Every trigger on our tables by its name, and whether it is enabled."""
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT[connection.vendor])
        found = {name: bool(is_enabled) for name, is_enabled in cursor.fetchall()}
    return {name: found[name] for name in found if name.startswith(PREFIX)}


def check_triggers() -> Iterator[Finding]:
    """Whether every trigger that refuses changes of the record is there and enabled."""
    present = present_triggers()
    expected = {f"{PREFIX}{name}" for name in TRIGGERS[connection.vendor]}
    off = {name for name, is_enabled in present.items() if not is_enabled} & expected
    for names, how in ((expected - present.keys(), "missing"), (off, "disabled")):
        if names:
            yield _error(
                "triggers",
                f"{len(names)} {how}, so the database takes changes that it must refuse: "
                f"{', '.join(sorted(names))}.",
                "Find out who did it and run ./run manage verify_audit; then enable them, or "
                "restore a backup.",
            )
    if expected <= present.keys() and not off:
        yield _ok("triggers", f"All {len(expected)} are in place.")


def check_role() -> Iterator[Finding]:
    """On PostgreSQL, what our own role could use to get past the triggers."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(_MAY)
        may_make_temporary, may_create, owns_tables = cursor.fetchone()
    able = {
        "create temporary tables": may_make_temporary,
        "create tables": may_create,
        "change or drop tables, which it or a role it belongs to owns": owns_tables,
    }
    found = [what for what, is_so in able.items() if is_so]
    if found:
        yield _warning("database role", f"The service's role can {'; '.join(found)}.", _ROLE_HINT)
    else:
        yield _ok("database role", "It owns no table and can create none.")
