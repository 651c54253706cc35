"""Index the history's text search: FTS5 trigrams on SQLite, pg_trgm on PostgreSQL."""

from typing import Any

from django.db import migrations

SQLITE = (
    """
    CREATE VIRTUAL TABLE connections_deletion_search
    USING fts5(deletion_id UNINDEXED, search_text, tokenize = 'trigram')
    """,
    # The text is fixed when a deletion is asked for, so an insert is all there is to follow.
    """
    CREATE TRIGGER connections_deletion_search_insert AFTER INSERT ON connections_deletion
    BEGIN
        INSERT INTO connections_deletion_search (deletion_id, search_text)
        VALUES (NEW.id, NEW.search_text);
    END
    """,
)
POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    CREATE INDEX deletion_search ON connections_deletion
    USING gin (search_text gin_trgm_ops)
    """,
)


def make_search_index(apps: Any, schema_editor: Any) -> None:
    statements = POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE
    for statement in statements:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("connections", "0002_groups_and_cache")]

    operations = [migrations.RunPython(make_search_index, migrations.RunPython.noop)]
