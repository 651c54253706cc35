"""Corrections of what Org Admin does by itself, before release 1.2.0.

Nothing in it stops release 1.1.0 from working: it only adds tables, and columns with a default.
"""

from connections.models.released_migrations import ReleasedMigration


class Migration(ReleasedMigration):
    release = "1.2.0"
    dependencies = [("connections", "0004_access_requests")]

    operations = []
