"""Checks that the database's triggers are in place and its role can't bypass them."""

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from django.core.checks import CheckMessage, Error, Info, Warning
from django.db import connection

PREFIX = "connections_"
# Each returns names of triggers, and whether each is enabled for every session.
_TRIGGER_QUERIES = {
    "sqlite": "SELECT name, 1 FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": (
        "SELECT tgname, tgenabled IN ('O', 'A') FROM pg_catalog.pg_trigger"
        " JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid"
        " WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace"
    ),
}
_ROLE_PERMISSIONS = """
    SELECT has_database_privilege(current_database(), 'TEMPORARY'),
        has_schema_privilege(current_schema(), 'CREATE'),
        EXISTS (
            SELECT 1 FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p')
            AND relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')
        )
"""
_ROLE_HINT = "See docs/OPERATIONS.md, “A role that cannot rewrite the audit log”."


def expected_triggers() -> set[str]:
    """Every trigger that the migrations create on Org Admin's tables."""
    vendor = connection.vendor
    # A statement-level rule exists only on PostgreSQL.
    triggers = {
        rule.trigger
        for module in _migrations()
        for rule in getattr(module, "rules", lambda _: ())(vendor)
        if vendor == "postgresql" or rule.operation != "TRUNCATE"
    }
    statements = [
        statement
        for module in _migrations()
        for statement in getattr(module, "SEARCH", {}).get(vendor, ())
    ]
    return triggers | set(re.findall(r"CREATE TRIGGER (\w+)", " ".join(statements)))


def _migrations() -> Iterator[ModuleType]:
    """Every migration of Org Admin. One that creates triggers has `rules`, like 0002."""
    package = import_module("connections.migrations")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield import_module(module.name)


def present_triggers() -> dict[str, bool]:
    """Every trigger on Org Admin's tables by name, and whether it is enabled."""
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGER_QUERIES[connection.vendor])
        rows = cursor.fetchall()
    return {name: bool(is_enabled) for name, is_enabled in rows if name.startswith(PREFIX)}


def check_triggers() -> Iterator[CheckMessage]:
    """Whether every trigger that protects recorded data exists and is enabled."""
    present = present_triggers()
    expected = expected_triggers()
    off = {name for name, is_enabled in present.items() if not is_enabled} & expected
    for names, how in ((expected - present.keys(), "missing"), (off, "disabled")):
        if names:
            yield Error(
                f"{len(names)} {how}, so the database accepts changes that it must refuse: "
                f"{', '.join(sorted(names))}",
                hint="Find out who did it and run ./run manage verify_audit. Then enable them, or "
                "restore a backup.",
            )
    if expected <= present.keys() and not off:
        yield Info(f"all {len(expected)} in place")


def check_role() -> Iterator[CheckMessage]:
    """On PostgreSQL, permissions of Org Admin's role that would let it bypass the triggers."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(_ROLE_PERMISSIONS)
        can_create_temporary, can_create, owns_tables = cursor.fetchone()
    permissions = {
        "create temporary tables": can_create_temporary,
        "create tables": can_create,
        "change or drop tables that it, or a role it belongs to, owns": owns_tables,
    }
    granted = [what for what, is_so in permissions.items() if is_so]
    if granted:
        yield Warning(f"the service's role can {'; '.join(granted)}", hint=_ROLE_HINT)
    else:
        yield Info("owns no table and can create none")
