"""What the database itself must refuse, and what the service's own role must not be able to do."""

from collections.abc import Iterator

from django.db import connection

from connections.operations.findings import Finding
from connections.operations.findings import error as _error
from connections.operations.findings import ok as _ok
from connections.operations.findings import warning as _warning

# Every trigger that the migrations create, by table and without "connections_"; a test holds this
# to it.
_REMOVED_BY = {"sqlite": ("delete",), "postgresql": ("delete", "truncate")}
_APPEND_ONLY = (
    "auditevent",
    "auditverification",
    "audithead",
    "checkpoint",
    "personalvalue",
    "protection",
    "protectionremoval",
)
_KEPT = {
    "deletion": ("request", "glass", "approvals", "round", "copies", "settled"),
    "attempt": ("round", "claim", "response"),
    "approval": ("request", "decision"),
    "breakglassreview": ("glass", "review"),
}
_SQLITE_ONLY = (
    *(f"{table}_replace_{how}" for table in _KEPT for how in ("insert", "update")),
    "deletion_search_insert",
    "deletion_search_update",
    "auditevent_search_insert",
)
TRIGGERS = {
    vendor: frozenset(
        [
            *(f"{table}_{how}" for table in _APPEND_ONLY for how in ("insert", "update", *removed)),
            *(f"{table}_{rule}" for table, rules in _KEPT.items() for rule in (*rules, *removed)),
            *(_SQLITE_ONLY if vendor == "sqlite" else ()),
        ]
    )
    for vendor, removed in _REMOVED_BY.items()
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
_ROLE_HINT = "docs/OPERATIONS.md, “A role that cannot rewrite the audit log”, has the SQL."


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
