"""What the service's role of PostgreSQL may do: granted by `migrate`, checked by `doctor`."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning
from django.db import Error as DatabaseError
from django.db import connection, transaction

from connections.core.errors import DomainError
from connections.models import AppliedMigration, AuditHead
from connections.models.triggers import NEVER
from connections.operations.schema import list_rules

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


class GrantError(DomainError):
    """The service's role didn't get its privileges. The message says why and what to do."""


def require_owner() -> None:
    """Raise GrantError if the service's role would migrate, which owns no table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        [role] = cursor.fetchone()
    if role == settings.DB_APP_ROLE:
        raise GrantError(
            f"ORGADMIN_DB_APP_ROLE and DATABASE_URL name the same role, {role}. Nothing was "
            "changed. Run migrate with a DATABASE_URL that names the owner of the database."
        )


def grant_to_service() -> None:
    """Give ORGADMIN_DB_APP_ROLE what the service needs, and no more. Only its owner can.

    Raises GrantError. Can be repeated, and has to be after each migration. Not on the schema of
    the next release, whose append-only tables this one doesn't know.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in _grants(settings.DB_APP_ROLE):
                cursor.execute(statement)
    except DatabaseError as error:
        raise GrantError(
            f"The migrations are applied, but {settings.DB_APP_ROLE} was granted nothing: "
            f"{' '.join(str(error).split())}. Run migrate as the owner of the database, once the "
            "role exists: docs/OPERATIONS.md, “A role that cannot rewrite the audit log”."
        ) from None


def _grants(role: str) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_schema()")
        database, schema = map(connection.ops.quote_name, cursor.fetchone())
    role = connection.ops.quote_name(role)
    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {role}"
    yield f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}"
    for kind in ("TABLES", "SEQUENCES"):
        # Someone can have granted more, such as TRUNCATE.
        yield f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM {role}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    yield f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
    # What a trigger always refuses.
    for rule in list_rules("postgresql"):
        if rule.condition == NEVER and rule.operation in {"UPDATE", "DELETE"}:
            yield f"REVOKE {rule.operation} ON {rule.table} FROM {role}"
    yield f"REVOKE INSERT ON {AuditHead._meta.db_table} FROM {role}"
    for table in (AppliedMigration._meta.db_table, "django_migrations"):
        yield f"REVOKE INSERT, UPDATE, DELETE ON {table} FROM {role}"
