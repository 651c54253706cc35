"""Which migrations a database has, from which release each is, and the base class of migrations."""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# A migration waits no longer than this for a lock, because the service's statements on that table
# queue behind the waiting lock.
LOCK_TIMEOUT = "10s"


class AppliedMigration(models.Model):
    """A migration of Org Admin that this database has, as its file was then."""

    name = models.CharField(max_length=255, primary_key=True)
    # Of the file.
    sha256 = models.CharField(max_length=64)
    # The release that has introduced it.
    release = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.name


def release_number(release: str) -> tuple[int, ...]:
    """The numbers of a release, which compare as releases do."""
    return tuple(int(part) for part in re.findall(r"\d+", release))


class ReleasedMigration(migrations.Migration):
    """A migration that records itself in its own transaction. Its file never changes later."""

    release = ""

    @classmethod
    def sha256(cls) -> str:
        """The SHA-256 of the file that defines this migration."""
        file = Path(str(sys.modules[cls.__module__].__file__))
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def apply(self, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
        """Apply the migration with a limit on its waits, and record it."""
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        state = super().apply(project_state, schema_editor, collect_sql)
        table = AppliedMigration._meta.db_table
        # Not with the model, which can have columns that a later migration adds.
        schema_editor.execute(f"DELETE FROM {table} WHERE name = %s", [self.name])  # noqa: S608 - our table
        schema_editor.execute(
            f"INSERT INTO {table} (name, sha256, release) VALUES (%s, %s, %s)",  # noqa: S608 - our table
            [self.name, self.sha256(), self.release],
        )
        return state


class AddColumn(migrations.AddField):
    """Adds a column without rebuilding the table, which on SQLite would drop its triggers.

    Its default has to be the database's, because the previous release still adds rows.
    """

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        """Add the column."""
        model = to_state.apps.get_model(app_label, self.model_name)
        BaseDatabaseSchemaEditor.add_field(schema_editor, model, model._meta.get_field(self.name))
