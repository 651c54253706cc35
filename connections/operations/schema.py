"""Whether the database's schema is the one that this version works with.

`serve`, `worker`, /readyz, `doctor` and `restore` ask this before anything fails. A release also
works with the schema of the next one. So each migration names the release that introduced it, and
the database records that name: an older version can then tell how much newer the database is.
"""

import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from types import ModuleType

from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from connections.core.errors import DomainError
from connections.core.text import join_some_names, pluralize
from connections.models import AppliedMigration
from connections.models.released_migrations import ReleasedMigration, release_number
from connections.models.triggers import Rule

APP = "connections"
PREFIX = "connections_"
# Each row: a kind, a name, and whether it is in order: a column can be read, a trigger is enabled.
_OBJECTS = {
    "sqlite": """
        SELECT 'column', t.name || '.' || c.name, 1
        FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'
        UNION ALL SELECT type, name, 1 FROM sqlite_master WHERE type IN ('index', 'trigger')
    """,
    "postgresql": """
        SELECT 'column', relname || '.' || attname, has_table_privilege(t.oid, 'SELECT')
        FROM pg_catalog.pg_class AS t JOIN pg_catalog.pg_attribute ON attrelid = t.oid
        WHERE relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
            AND relnamespace = current_schema()::regnamespace
        UNION ALL SELECT 'index', relname, indisvalid
        FROM pg_catalog.pg_class JOIN pg_catalog.pg_index ON indexrelid = pg_class.oid
        WHERE relnamespace = current_schema()::regnamespace
        UNION ALL SELECT 'trigger', tgname, tgenabled IN ('O', 'A')
        FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid
        WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace
    """,
}
MIGRATE = "Run ./run manage migrate (with SQLite, ./run serve does this)."

# ("column", "connections_person.username"), for example.
SchemaObject = tuple[str, str]


class SchemaError(DomainError):
    """This version can't work with the database. The message says why and what to do."""


class Fit(Enum):
    """How the database's schema compares with this version's."""

    SAME = "same"
    # `migrate` has to be run.
    OLDER = "older"
    # By one release: this version works with it.
    NEWER = "newer"
    # By several releases.
    TOO_NEW = "too new"
    # Of a build before 1.0, or of one that was never released.
    FOREIGN = "foreign"
    # Not what its migrations made, or not accessible.
    ALTERED = "altered"


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The result of a comparison. `problem` and `hint` are empty if there is nothing to do."""

    fit: Fit
    problem: str = ""
    hint: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether this version works with it."""
        return self.fit in {Fit.SAME, Fit.NEWER}

    @property
    def has_migrations(self) -> bool:
        """Whether every migration of this version is applied, as it is in this version."""
        return self.is_usable or self.fit is Fit.ALTERED

    @property
    def text(self) -> str:
        """What is wrong and what to do."""
        return f"{self.problem}. {self.hint}"


def require_usable_schema() -> None:
    """Raise SchemaError if this version can't work with the database. Raises DatabaseError."""
    schema = read_schema()
    if not schema.is_usable:
        raise SchemaError(schema.text)


def read_schema() -> Schema:
    """Compare the database's migrations, columns, indexes and triggers with this version's."""
    objects = _present_objects()
    # Before the first table is read: a role to which nothing was granted can't read any.
    unreadable = _unreadable_tables(objects)
    if unreadable:
        return Schema(
            fit=Fit.ALTERED,
            problem=f"The database role {connection.settings_dict['USER']} can't read "
            f"{_names(unreadable)}",
            hint="Run ./run manage migrate as the owner, with ORGADMIN_DB_APP_ROLE set to it.",
        )
    schema = _compare_migrations({name for kind, name in objects if kind == "column"})
    # The next release can have replaced an index or a trigger, but no column.
    kinds = {"column"} if schema.fit is Fit.NEWER else {"column", "index", "trigger"}
    return (_find_altered(objects, kinds=kinds) if schema.is_usable else None) or schema


# --- Migrations ---------------------------------------------------------------------------------


@cache
def known_migrations() -> dict[tuple[str, str], type]:
    """Every migration of this version by app and name.

    The files don't change while a process runs, and reading them takes longer than the rest.
    """
    loaded = MigrationLoader(None).disk_migrations or {}
    return {key: type(migration) for key, migration in loaded.items()}


@cache
def known_hashes() -> dict[str, str]:
    """The SHA-256 of each file of Org Admin's migrations by name."""
    return {
        name: migration.sha256()
        for (app, name), migration in known_migrations().items()
        if app == APP and issubclass(migration, ReleasedMigration)
    }


def _compare_migrations(columns: set[str]) -> Schema:
    # Not `applied_migrations`, which lists all tables to find its own.
    rows = MigrationRecorder(connection).migration_qs.values_list("app", "name")
    applied = set(rows) if "django_migrations.name" in columns else set()
    has_record = f"{AppliedMigration._meta.db_table}.sha256" in columns
    recorded = {row.name: row for row in AppliedMigration.objects.all()} if has_record else {}
    known = known_hashes()
    ours = {name for app, name in applied if app == APP}
    if any(
        name not in recorded or known.get(name, recorded[name].sha256) != recorded[name].sha256
        for name in ours
    ):
        return Schema(
            fit=Fit.FOREIGN,
            problem="The database was made by a build before 1.0 and can't be upgraded",
            hint="With that build, run export_audit and make_evidence_bundle to keep its record; "
            "then start this version with an empty database (docs/OPERATIONS.md, “Upgrades”).",
        )
    newer = sorted({recorded[name].release for name in ours - known.keys()}, key=release_number)
    if len(newer) > 1:
        return Schema(
            fit=Fit.TOO_NEW,
            problem=f"The database is of release {newer[-1]}, too new for this version",
            hint=f"Start release {newer[-2]} or later.",
        )
    missing = known_migrations().keys() - applied
    if missing:
        return Schema(
            fit=Fit.OLDER,
            problem="The database is older than this version: it lacks "
            f"{pluralize(len(missing), 'migration')}",
            hint=MIGRATE,
        )
    if newer:
        return Schema(
            fit=Fit.NEWER,
            problem=f"The database is of release {newer[0]}, the next after this one, which still "
            "works with it",
            hint=f"Upgrade this installation to release {newer[0]}.",
        )
    return Schema(fit=Fit.SAME)


# --- Columns, indexes and triggers --------------------------------------------------------------


def _present_objects() -> dict[SchemaObject, bool]:
    with connection.cursor() as cursor:
        cursor.execute(_OBJECTS[connection.vendor])
        return {(kind, name): bool(is_in_order) for kind, name, is_in_order in cursor.fetchall()}


def _unreadable_tables(present: dict[SchemaObject, bool]) -> set[str]:
    read = expected_objects(connection.vendor) | {("column", "django_migrations.name")}
    return {
        name.partition(".")[0]
        for kind, name in read & present.keys()
        if kind == "column" and not present[kind, name]
    }


def _find_altered(present: dict[SchemaObject, bool], *, kinds: set[str]) -> Schema | None:
    expected = {item for item in expected_objects(connection.vendor) if item[0] in kinds}
    wrong = {item for item in expected if not present.get(item)}
    if wrong:
        names = {f"{kind} {name}" for kind, name in wrong}
        return Schema(
            fit=Fit.ALTERED,
            problem=f"The database lacks, or has disabled, {_names(names)}, although every "
            "migration is applied: someone changed it outside Org Admin",
            hint="Find out who did it, run ./run manage verify_audit, and undo it or restore a "
            "backup.",
        )
    return None


def _names(names: set[str]) -> str:
    return join_some_names(sorted(names), limit=5)


@cache
def expected_objects(vendor: str) -> frozenset[SchemaObject]:
    """Every column, named index and trigger that the migrations make in such a database."""
    columns = {
        f"{model._meta.db_table}.{field.column}"
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.local_concrete_fields
    }
    statements = "\n".join([*_statements_for_models(), *_written_statements(vendor)])
    indexes = re.findall(r'CREATE (?:UNIQUE )?INDEX "?(\w+)', statements)
    if vendor == "postgresql":
        # SQLite gives the indexes of constraints names of its own, and can't drop them.
        indexes += re.findall(r'CONSTRAINT "(\w+)" UNIQUE', statements)
    return frozenset(
        {("column", name) for name in columns}
        | {("index", name) for name in indexes}
        | {("trigger", name) for name in re.findall(r"CREATE TRIGGER (\w+)", statements)}
        # A statement-level rule exists only on PostgreSQL.
        | {
            ("trigger", rule.trigger)
            for rule in list_rules(vendor)
            if vendor == "postgresql" or rule.operation != "TRUNCATE"
        }
    )


def list_rules(vendor: str) -> list[Rule]:
    """Every rule that the migrations let such a database check with a trigger."""
    modules = _migration_modules()
    return [rule for module in modules for rule in getattr(module, "rules", lambda _: ())(vendor)]


def _statements_for_models() -> list[str]:
    # Without entering it, which would change a setting of the connection.
    editor = connection.SchemaEditorClass(connection, collect_sql=True, atomic=False)
    editor.deferred_sql = []
    for model in apps.get_models():
        editor.create_model(model)
    return [*editor.collected_sql, *map(str, editor.deferred_sql)]


def _written_statements(vendor: str) -> Iterator[str]:
    for module in _migration_modules():
        yield from getattr(module, "SEARCH", {}).get(vendor, ())


def _migration_modules() -> Iterator[ModuleType]:
    """Every migration of Org Admin. One that creates triggers has `rules`, like 0002."""
    package = import_module("connections.migrations")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield import_module(module.name)
