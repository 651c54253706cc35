"""Let no temporary table of a session stand in for the tables that PostgreSQL's triggers read."""

from django.db import migrations

from connections.trigger_functions import fix_search_path


class Migration(migrations.Migration):
    dependencies = [("connections", "0007_frozen_results")]

    operations = [
        # Not to be taken back: the triggers would be as easily deceived as before.
        migrations.RunPython(fix_search_path),
    ]
