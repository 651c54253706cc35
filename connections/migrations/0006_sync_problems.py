"""Failing syncs that were reported, acknowledged problems, owners' decisions, a channel, emails
limited to alerts, single-key shortcuts, the version of the agreement that a requester saw, API
tokens and accounts for programs.

Nothing in it stops release 1.2.0 from working: it only adds tables and columns with a default.
"""

import uuid

from django.conf import settings
from django.db.migrations import AddIndex, AlterField, CreateModel, RunPython, SeparateDatabaseAndState
from django.db.models import (
    CASCADE,
    PROTECT,
    BooleanField,
    CharField,
    CheckConstraint,
    DateTimeField,
    ForeignKey,
    Index,
    JSONField,
    OneToOneField,
    PositiveIntegerField,
    Q,
    TextField,
    UniqueConstraint,
    UUIDField,
)

from connections.models.released_migrations import AddColumn, ReleasedMigration
from connections.models.triggers import NEVER, Rule, create_triggers, never_removed, unchanged

CHANNELS = [
    ("mail", "Mail"),
    ("webhook", "Webhook"),
    ("file", "Checkpoint file"),
    ("slack", "Slack"),
]
ACKNOWLEDGED = "connections_problemacknowledgement"
DECIDED = "connections_ownerdecision"
REQUESTS = ("deletion", "accessrequest")


def rules(vendor):
    """Every rule that this database checks with a trigger."""
    return (
        Rule(ACKNOWLEDGED, "update", "UPDATE", NEVER, "An acknowledgement can't be changed"),
        *never_removed(ACKNOWLEDGED, "An acknowledgement can't be removed"),
        Rule(
            DECIDED,
            "update",
            "UPDATE",
            "OLD.accepted_at IS NULL AND NEW.accepted_at IS NOT NULL AND "
            + unchanged("agreement_id", "refused_at", "reason"),
            "An owner's decision can't be changed",
        ),
        *never_removed(DECIDED, "An owner's decision can't be removed"),
        *(
            Rule(
                f"connections_{request}",
                "agreement_version",
                "UPDATE",
                unchanged("agreement_version"),
                "What was requested is kept",
            )
            for request in REQUESTS
        ),
    )


def create_rules(apps, schema_editor):
    create_triggers(schema_editor, rules(schema_editor.connection.vendor))


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
        CreateModel(
            name="ProblemAcknowledgement",
            fields=[
                ("id", UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    CharField(
                        choices=[
                            ("refused", "was refused by Datadog"),
                            ("failed", "failed"),
                            ("interrupted", "interrupted access"),
                            ("contradicted", "is contradicted by a list"),
                            ("not_ended", "did not end access"),
                        ],
                        max_length=20,
                    ),
                ),
                ("subject_id", UUIDField()),
                ("note", TextField(blank=True)),
                ("acknowledged_at", DateTimeField()),
                (
                    "acknowledged_by",
                    ForeignKey(on_delete=PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                ),
            ],
            options={
                "constraints": [
                    UniqueConstraint(
                        fields=["subject_id", "kind"], name="one_acknowledgement_of_a_problem"
                    )
                ],
            },
        ),
        CreateModel(
            name="OwnerDecision",
            fields=[
                (
                    "agreement",
                    OneToOneField(
                        on_delete=PROTECT,
                        primary_key=True,
                        related_name="owner_decision",
                        serialize=False,
                        to="connections.agreement",
                    ),
                ),
                ("accepted_at", DateTimeField(null=True)),
                ("refused_at", DateTimeField(null=True)),
                ("reason", TextField(blank=True)),
            ],
            options={
                "constraints": [
                    CheckConstraint(
                        condition=Q(accepted_at__isnull=False, refused_at=None, reason="")
                        | Q(refused_at__isnull=False) & ~Q(reason=""),
                        name="an_owner_accepts_or_says_why_not",
                    )
                ],
            },
        ),
        CreateModel(
            name="ApiToken",
            fields=[
                ("id", UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", CharField(max_length=60)),
                ("token_hash", CharField(max_length=64, unique=True)),
                ("scopes", JSONField()),
                ("created_at", DateTimeField()),
                ("expires_at", DateTimeField()),
                ("last_used_at", DateTimeField(null=True)),
                ("revoked_at", DateTimeField(null=True)),
                (
                    "person",
                    ForeignKey(
                        on_delete=CASCADE, related_name="api_tokens", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        *(
            AddColumn(request, "agreement_version", PositiveIntegerField(null=True))
            for request in REQUESTS
        ),
        RunPython(create_rules),
        AddIndex(
            "deletion",
            Index(
                fields=["settled_at"],
                condition=Q(settled_at__isnull=False),
                name="deletions_ended",
            ),
        ),
        AddColumn("person", "wants_only_alerts", BooleanField(db_default=False, default=False)),
        AddColumn("person", "wants_single_keys", BooleanField(db_default=True, default=True)),
        AddColumn("person", "is_program", BooleanField(db_default=False, default=False)),
        # Only names of values. SQLite would rebuild the table.
        SeparateDatabaseAndState(
            state_operations=[
                AlterField("notification", "channel", CharField(choices=CHANNELS, max_length=16))
            ]
        ),
    ]
