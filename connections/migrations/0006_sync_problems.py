"""What was reported about failing syncs, and a channel of notifications.

Nothing in it stops release 1.2.0 from working: it only adds a table.
"""

import uuid

from django.db.migrations import AlterField, CreateModel, SeparateDatabaseAndState
from django.db.models import CharField, DateTimeField, JSONField, UniqueConstraint, UUIDField

from connections.models.released_migrations import ReleasedMigration

CHANNELS = [
    ("mail", "Mail"),
    ("webhook", "Webhook"),
    ("file", "Checkpoint file"),
    ("slack", "Slack"),
]


class Migration(ReleasedMigration):
    release = "1.3.0"
    dependencies = [("connections", "0005_corrections")]

    operations = [
        CreateModel(
            name="SyncProblem",
            fields=[
                ("id", UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("site", CharField(max_length=100)),
                ("cause", CharField(max_length=20)),
                ("failing_since", DateTimeField(null=True)),
                ("found_at", DateTimeField(null=True)),
                ("credential_ids", JSONField(default=list)),
                ("failing_notified_at", DateTimeField(null=True)),
                ("recovered_notified_at", DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    UniqueConstraint(fields=["site", "cause"], name="one_sync_problem")
                ],
            },
        ),
        # Only names of values. SQLite would rebuild the table.
        SeparateDatabaseAndState(
            state_operations=[
                AlterField("notification", "channel", CharField(choices=CHANNELS, max_length=16))
            ]
        ),
    ]
