"""Index text searches in history and record: FTS5 trigrams on SQLite, pg_trgm on PostgreSQL."""

from typing import Any

from django.db import migrations

SQLITE = (
    """
    CREATE VIRTUAL TABLE connections_deletion_search
    USING fts5(deletion_id UNINDEXED, search_text, tokenize = 'trigram')
    """,
    """
    CREATE TRIGGER connections_deletion_search_insert AFTER INSERT ON connections_deletion
    BEGIN
        INSERT INTO connections_deletion_search (deletion_id, search_text)
        VALUES (NEW.id, NEW.search_text);
    END
    """,
    # A comment adds to the text, so what the older row finds stays true.
    """
    CREATE TRIGGER connections_deletion_search_update
    AFTER UPDATE OF search_text ON connections_deletion
    BEGIN
        INSERT INTO connections_deletion_search (deletion_id, search_text)
        VALUES (NEW.id, NEW.search_text);
    END
    """,
    # The index alone: the sentence stands in the event, whose number is the row's.
    """
    CREATE VIRTUAL TABLE connections_auditevent_search
    USING fts5(sentence, content = 'connections_auditevent', content_rowid = 'seq',
               columnsize = 0, tokenize = 'trigram')
    """,
    # A reference is shortened, since its first letters would stand in nearly every sentence.
    """
    CREATE TRIGGER connections_auditevent_search_insert AFTER INSERT ON connections_auditevent
    BEGIN
        INSERT INTO connections_auditevent_search (rowid, sentence)
        VALUES (NEW.seq, REPLACE(REPLACE(NEW.sentence, '{name:', '{'), '{address:', '{'));
    END
    """,
)
POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    CREATE INDEX deletion_search ON connections_deletion
    USING gin (search_text gin_trgm_ops)
    """,
    """
    CREATE INDEX event_search ON connections_auditevent
    USING gin (UPPER(sentence) gin_trgm_ops)
    """,
)


def make_search_index(apps: Any, schema_editor: Any) -> None:
    statements = POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE
    for statement in statements:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("connections", "0002_groups_and_cache")]

    operations = [migrations.RunPython(make_search_index, migrations.RunPython.noop)]
