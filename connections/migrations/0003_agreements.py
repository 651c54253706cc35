"""Agreements, groups and owners of orgs, access reviews by owners that repeat.

Nothing in it stops release 1.0.0 from working: it only adds tables, and columns with a default.
"""

import uuid

from django.conf import settings
from django.db.migrations import AddConstraint, CreateModel, RunPython
from django.db.models import (
    PROTECT,
    BigAutoField,
    CharField,
    CheckConstraint,
    DateField,
    DateTimeField,
    ForeignKey,
    JSONField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    Q,
    TextField,
    UniqueConstraint,
    UUIDField,
)

from connections.models.released_migrations import AddColumn, ReleasedMigration
from connections.models.triggers import NEVER, Rule, create_triggers, never_removed, unchanged

PERSON = settings.AUTH_USER_MODEL
AGREEMENT = "connections_agreement"
ACCESS_REVIEW = "connections_accessreview"

NEXT_VERSION = (
    f"NEW.version = (SELECT COALESCE(MAX(version), 0) + 1 FROM {AGREEMENT} WHERE site = NEW.site"
    " AND source_org_id = NEW.source_org_id AND sink_org_id = NEW.sink_org_id)"
    f" AND NOT EXISTS (SELECT 1 FROM {AGREEMENT} WHERE id = NEW.id)"
)
# SQLite's REPLACE removes a row with the same hidden number without calling a DELETE trigger.
NEW_ROWID = f"NOT EXISTS (SELECT 1 FROM {AGREEMENT} WHERE rowid = NEW.rowid)"
KEPT = "An agreement is kept: a change of it is a new version"
# Who decides can become the named reviewers, but not the other way around.
ASSIGNED = f"{unchanged('repeats_id')} AND (NEW.assignment = OLD.assignment OR NEW.assignment = '')"


def rules(vendor):
    """Every rule that this database checks with a trigger."""
    is_new = f"{NEXT_VERSION} AND {NEW_ROWID}" if vendor == "sqlite" else NEXT_VERSION
    return (
        Rule(AGREEMENT, "insert", "INSERT", is_new, "A version follows the newest one of its pair"),
        Rule(AGREEMENT, "update", "UPDATE", NEVER, KEPT),
        *never_removed(AGREEMENT, KEPT),
        Rule(
            ACCESS_REVIEW,
            "assigned",
            "UPDATE",
            ASSIGNED,
            "What an access review repeats, and who decides, can't be changed",
        ),
    )


def create_rules(apps, schema_editor):
    create_triggers(schema_editor, rules(schema_editor.connection.vendor))


def person():
    return ForeignKey(PERSON, PROTECT, null=True, related_name="+")


class Migration(ReleasedMigration):
    release = "1.1.0"
    dependencies = [("connections", "0002_database_rules")]

    operations = [
        CreateModel(
            name="Agreement",
            fields=[
                (
                    "id",
                    UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("site", CharField(max_length=100)),
                ("source_org_id", CharField(max_length=64)),
                ("sink_org_id", CharField(max_length=64)),
                ("version", PositiveIntegerField()),
                ("owner", person()),
                ("owner_text", CharField(blank=True, max_length=200)),
                ("purpose", TextField()),
                ("ticket", CharField(blank=True, max_length=200)),
                ("ends_on", DateField(null=True)),
                ("connection_types", JSONField()),
                ("set_at", DateTimeField()),
                ("set_by", person()),
                ("set_by_process", CharField(blank=True, max_length=100)),
            ],
            options={
                "ordering": ("site", "source_org_id", "sink_org_id", "-version"),
                "constraints": [
                    UniqueConstraint(
                        fields=("site", "source_org_id", "sink_org_id", "version"),
                        name="one_version_of_an_agreement",
                    ),
                    CheckConstraint(
                        condition=Q(owner__isnull=False) | ~Q(owner_text=""),
                        name="an_agreement_has_an_owner",
                    ),
                    CheckConstraint(condition=~Q(purpose=""), name="an_agreement_has_a_purpose"),
                    CheckConstraint(
                        condition=Q(set_by__isnull=False, set_by_process="")
                        | Q(set_by__isnull=True) & ~Q(set_by_process=""),
                        name="an_agreement_is_set_by_one",
                    ),
                ],
            },
        ),
        CreateModel(
            name="AgreementReminder",
            fields=[
                (
                    "id",
                    BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "agreement",
                    ForeignKey("connections.agreement", PROTECT, related_name="reminders"),
                ),
                ("days", PositiveSmallIntegerField()),
                ("sent_at", DateTimeField()),
            ],
            options={
                "constraints": [
                    UniqueConstraint(fields=("agreement", "days"), name="one_reminder_of_an_end")
                ],
            },
        ),
        AddColumn("org", "group", CharField(blank=True, db_default="", max_length=60)),
        AddColumn("org", "owner", person()),
        AddColumn(
            "accessreview",
            "assignment",
            CharField(
                blank=True,
                choices=[("", "Reviewers"), ("owners", "Owners")],
                db_default="",
                max_length=10,
            ),
        ),
        AddColumn("accessreview", "repeat_months", PositiveSmallIntegerField(null=True)),
        AddColumn(
            "accessreview",
            "repeats",
            ForeignKey("connections.accessreview", PROTECT, null=True, related_name="+"),
        ),
        AddColumn("accessreview", "repeat_failed_at", DateTimeField(null=True)),
        AddConstraint(
            "accessreview",
            UniqueConstraint(
                condition=Q(repeats__isnull=False),
                fields=("repeats",),
                name="an_access_review_is_repeated_once",
            ),
        ),
        RunPython(create_rules),
    ]
