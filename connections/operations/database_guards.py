"""What the service's role of PostgreSQL may do: checked by `doctor`."""

from collections.abc import Iterator

from django.core.checks import CheckMessage, Info, Warning
from django.db import connection

_ROLE_PERMISSIONS = """
    SELECT has_database_privilege(current_database(), 'TEMPORARY'),
        has_schema_privilege(current_schema(), 'CREATE'),
        EXISTS (
            SELECT 1 FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p')
            AND relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')
        )
"""
_ROLE_HINT = "See docs/OPERATIONS.md, “A role that cannot rewrite the audit log”."


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
