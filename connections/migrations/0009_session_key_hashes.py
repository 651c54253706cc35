"""Sessions are found by a keyed hash of the cookie's value, which is no longer stored.

Existing sessions end: people sign in again.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("connections", "0008_search_path")]
    operations = [
        # Also backwards, where hashes would stand in the place of keys.
        migrations.RunSQL(
            sql="DELETE FROM connections_personsession",
            reverse_sql=migrations.RunSQL.noop,
        ),
        migrations.RenameField(
            model_name="personsession", old_name="session_key", new_name="key_hash"
        ),
        migrations.AlterField(
            model_name="personsession",
            name="key_hash",
            field=models.CharField(max_length=64, primary_key=True, serialize=False),
        ),
        migrations.RunSQL(
            sql=migrations.RunSQL.noop,
            reverse_sql="DELETE FROM connections_personsession",
        ),
    ]
