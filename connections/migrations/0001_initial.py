"""Every table of the app, with its columns, indexes and constraints."""

import uuid

from django.conf import settings
from django.contrib.auth.models import UserManager
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db.migrations import CreateModel
from django.db.models import (
    CASCADE,
    PROTECT,
    BigAutoField,
    BigIntegerField,
    BinaryField,
    BooleanField,
    CharField,
    CheckConstraint,
    DateField,
    DateTimeField,
    EmailField,
    F,
    ForeignKey,
    Index,
    JSONField,
    ManyToManyField,
    OneToOneField,
    PositiveIntegerField,
    PositiveSmallIntegerField,
    Q,
    TextField,
    UniqueConstraint,
    UUIDField,
)
from django.db.models.functions import Lower, Now
from django.utils import timezone

from connections.models.released_migrations import ReleasedMigration

PERSON = settings.AUTH_USER_MODEL
POLICIES = [
    ("none", "No approval required"),
    ("one", "1 approval required"),
    ("two", "2 approvals required"),
]

ENDED_BATCH = ["declined", "finished", "cancelled", "expired"]


def columns(**fields):
    return list(fields.items())


def own_number():
    return BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def own_uuid():
    return UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)


def newest_first(*columns, name, last=()):
    return Index(fields=[*columns, "-requested_at", "-id", *last], name=name)


def person(**options):
    return ForeignKey(PERSON, PROTECT, related_name="+", **options)


class Migration(ReleasedMigration):
    release = "1.0.0"
    initial = True

    dependencies = [("auth", "0012_alter_user_first_name_max_length")]

    operations = [
        CreateModel(
            name="AppliedMigration",
            fields=columns(
                name=CharField(max_length=255, primary_key=True, serialize=False),
                sha256=CharField(max_length=64),
                release=CharField(max_length=20),
            ),
        ),
        CreateModel(
            name="AuditEvent",
            fields=columns(
                seq=BigIntegerField(primary_key=True, serialize=False),
                text=TextField(),
                previous=CharField(max_length=64),
                hash=CharField(max_length=64),
                at=DateTimeField(),
                code=CharField(max_length=60),
                actor_kind=CharField(max_length=10),
                actor_id=UUIDField(null=True),
                stored_actor=CharField(db_column="actor", max_length=200),
                request_id=CharField(blank=True, max_length=64),
                subject_type=CharField(blank=True, max_length=20),
                subject_id=CharField(blank=True, max_length=64),
                stored_sentence=TextField(db_column="sentence"),
            ),
            options={
                "ordering": ("-seq",),
                "indexes": [
                    Index(fields=["subject_id", "seq"], name="event_of_subject"),
                    Index(fields=["actor_id", "seq"], name="event_of_actor"),
                    Index(
                        fields=["stored_actor", "seq"],
                        name="event_of_other_actor",
                        condition=Q(actor_id__isnull=True),
                    ),
                    Index(fields=["code", "seq"], name="event_of_code"),
                    Index(fields=["request_id", "seq"], name="event_of_request"),
                    Index(fields=["at", "seq"], name="event_by_time"),
                ],
            },
        ),
        CreateModel(
            name="PersonalValue",
            fields=columns(
                number=BigIntegerField(primary_key=True, serialize=False),
                person_number=BigIntegerField(),
                person_id=UUIDField(null=True),
                kind=CharField(
                    choices=[("name", "Name"), ("address", "Address"), ("agent", "Agent")],
                    max_length=16,
                ),
                value=CharField(blank=True, max_length=400),
                salt=CharField(blank=True, max_length=64),
                commitment=CharField(max_length=64),
                erased_at=DateTimeField(null=True),
            ),
            options={
                "indexes": [
                    Index(fields=["value", "kind"], name="erasable_by_value"),
                    Index(fields=["person_id", "kind"], name="erasable_by_person"),
                ]
            },
        ),
        CreateModel(
            name="AuditHead",
            fields=columns(
                id=PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                origin=CharField(max_length=40),
                size=BigIntegerField(default=0),
                hash=CharField(max_length=64),
                frontier=TextField(blank=True),
            ),
        ),
        CreateModel(
            name="Checkpoint",
            fields=columns(
                id=own_number(),
                size=BigIntegerField(),
                root=CharField(max_length=64),
                fingerprint=CharField(max_length=64),
                note=TextField(),
                made_at=DateTimeField(),
            ),
            options={
                "ordering": ("-size", "-id"),
                "constraints": [
                    UniqueConstraint(fields=("size", "fingerprint"), name="one_checkpoint_by_key")
                ],
            },
        ),
        CreateModel(
            name="AuditVerification",
            fields=columns(
                id=own_number(),
                checked_at=DateTimeField(),
                size=BigIntegerField(),
                fault=CharField(blank=True, max_length=20),
                first_bad_seq=BigIntegerField(null=True),
                message=TextField(),
            ),
            options={"ordering": ("-checked_at", "-id")},
        ),
        CreateModel(
            name="Person",
            fields=columns(
                password=CharField(max_length=128, verbose_name="password"),
                last_login=DateTimeField(blank=True, null=True, verbose_name="last login"),
                is_superuser=BooleanField(
                    default=False,
                    help_text="Designates that this user has all permissions without explicitly assigning them.",
                    verbose_name="superuser status",
                ),
                username=CharField(
                    error_messages={"unique": "A user with that username already exists."},
                    help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                    max_length=150,
                    unique=True,
                    validators=[UnicodeUsernameValidator()],
                    verbose_name="username",
                ),
                first_name=CharField(blank=True, max_length=150, verbose_name="first name"),
                last_name=CharField(blank=True, max_length=150, verbose_name="last name"),
                email=EmailField(blank=True, max_length=254, verbose_name="email address"),
                is_staff=BooleanField(
                    default=False,
                    help_text="Designates whether the user can log into this admin site.",
                    verbose_name="staff status",
                ),
                is_active=BooleanField(
                    default=True,
                    help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                    verbose_name="active",
                ),
                date_joined=DateTimeField(default=timezone.now, verbose_name="date joined"),
                id=own_uuid(),
                session_epoch=PositiveIntegerField(default=0),
                has_break_glass=BooleanField(default=False),
                wants_change_emails=BooleanField(default=True),
                groups=ManyToManyField(
                    blank=True,
                    help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                    related_name="user_set",
                    related_query_name="user",
                    to="auth.group",
                    verbose_name="groups",
                ),
                user_permissions=ManyToManyField(
                    blank=True,
                    help_text="Specific permissions for this user.",
                    related_name="user_set",
                    related_query_name="user",
                    to="auth.permission",
                    verbose_name="user permissions",
                ),
            ),
            options={
                "verbose_name_plural": "people",
                "constraints": [
                    UniqueConstraint(Lower("username"), name="one_person_by_username"),
                    UniqueConstraint(
                        Lower("email"), condition=~Q(email=""), name="one_person_by_email"
                    ),
                ],
            },
            managers=[("objects", UserManager())],
        ),
        CreateModel(
            name="Credential",
            fields=columns(
                id=own_uuid(),
                name=CharField(max_length=100),
                site=CharField(max_length=100),
                policy=CharField(choices=POLICIES, default="none", max_length=8),
                org_id=CharField(blank=True, max_length=64),
                org_name=CharField(blank=True, max_length=1000),
                api_key_envelope=TextField(blank=True),
                application_key_envelope=TextField(blank=True),
                access_token_envelope=TextField(blank=True),
                secret_version=PositiveIntegerField(default=0),
                fingerprint=CharField(blank=True, max_length=12),
                api_key_last_four=CharField(blank=True, max_length=4),
                application_key_last_four=CharField(blank=True, max_length=4),
                access_token_last_four=CharField(blank=True, max_length=4),
                keys_set_at=DateTimeField(),
                keys_set_by_name=CharField(max_length=200),
                verified_at=DateTimeField(null=True),
                verification_cause=CharField(blank=True, max_length=40),
                verification=JSONField(default=list),
                last_used_at=DateTimeField(null=True),
                last_error=JSONField(null=True),
                sync_due_at=DateTimeField(db_default=Now()),
                managed_orgs_read_at=DateTimeField(null=True),
                managed_orgs_error=JSONField(null=True),
                created_at=DateTimeField(),
                created_by_name=CharField(max_length=200),
                retired_at=DateTimeField(null=True),
                retired_by_name=CharField(blank=True, max_length=200),
                created_by=person(null=True),
            ),
            options={
                "ordering": ("name",),
                "indexes": [
                    Index(fields=["sync_due_at"], condition=Q(retired_at=None), name="syncs_due"),
                ],
                "constraints": [
                    UniqueConstraint(
                        Lower("name"),
                        name="credential_name_is_unique",
                        violation_error_message="Another credential has this name.",
                    ),
                    UniqueConstraint(
                        condition=Q(retired_at=None) & ~Q(fingerprint=""),
                        fields=("site", "fingerprint"),
                        name="key_pair_is_stored_once",
                        violation_error_message="These keys are already stored.",
                    ),
                    CheckConstraint(
                        condition=Q(access_token_envelope="")
                        | Q(api_key_envelope="", application_key_envelope=""),
                        name="a_key_pair_or_an_access_token",
                    ),
                ],
            },
        ),
        CreateModel(
            name="CredentialAccess",
            fields=columns(
                id=own_number(),
                kind=CharField(
                    choices=[("see", "See"), ("use", "Use"), ("approve", "Approve")], max_length=8
                ),
                credential=ForeignKey("connections.credential", PROTECT, related_name="access"),
                group=ForeignKey("auth.group", PROTECT, null=True, related_name="+"),
                person=person(null=True),
            ),
            options={
                "constraints": [
                    CheckConstraint(
                        condition=Q(group__isnull=True) ^ Q(person__isnull=True),
                        name="access_of_a_group_or_a_person",
                    ),
                    UniqueConstraint(
                        fields=("credential", "kind", "group"), name="one_access_by_group"
                    ),
                    UniqueConstraint(
                        fields=("credential", "kind", "person"), name="one_access_by_person"
                    ),
                ]
            },
        ),
        CreateModel(
            name="Sync",
            fields=columns(
                id=own_number(),
                started_at=DateTimeField(),
                finished_at=DateTimeField(),
                is_complete=BooleanField(),
                count=PositiveIntegerField(default=0),
                cause=CharField(blank=True, max_length=40),
                http_status=PositiveSmallIntegerField(null=True),
                errors=JSONField(default=list),
                credential=ForeignKey("connections.credential", PROTECT, related_name="syncs"),
            ),
            options={
                "ordering": ("-started_at", "-id"),
                "indexes": [Index(fields=["credential", "-started_at", "-id"], name="sync_newest")],
            },
        ),
        CreateModel(
            name="OrgConnectionSnapshot",
            fields=columns(
                id=own_number(),
                source_org_id=CharField(blank=True, max_length=64),
                source_org_name=CharField(blank=True, max_length=1000),
                sink_org_id=CharField(blank=True, max_length=64),
                sink_org_name=CharField(blank=True, max_length=1000),
                connection_types=JSONField(default=list),
                connection_created_at=DateTimeField(null=True),
                creator_id=CharField(blank=True, max_length=64),
                creator_name=CharField(blank=True, max_length=1000),
                creator_is_disabled=BooleanField(null=True),
                creator_is_service_account=BooleanField(null=True),
                site=CharField(max_length=100),
                connection_id=UUIDField(),
                digest=CharField(max_length=64),
                first_seen_at=DateTimeField(),
                last_seen_at=DateTimeField(),
                is_current=BooleanField(default=True),
                credential=ForeignKey("connections.credential", PROTECT, related_name="snapshots"),
            ),
            options={
                "ordering": ("source_org_name", "sink_org_name", "connection_id"),
                "indexes": [
                    Index(fields=["site", "connection_id", "-last_seen_at"], name="snapshot_of"),
                    Index(fields=["site", "source_org_id", "sink_org_id"], name="snapshot_of_orgs"),
                    Index(fields=["site", "sink_org_id"], name="snapshot_of_sink"),
                    Index(
                        condition=Q(is_current=True),
                        fields=[
                            "site",
                            "source_org_id",
                            "sink_org_id",
                            "connection_id",
                            "credential",
                        ],
                        name="current_pairs_of_orgs",
                    ),
                    Index(
                        condition=Q(is_current=True),
                        fields=["site", "sink_org_id", "connection_id", "credential"],
                        name="current_of_sink",
                    ),
                    Index(
                        condition=Q(is_current=True),
                        fields=["site", "connection_id", "credential"],
                        name="current_of_connection",
                    ),
                    Index(
                        condition=Q(is_current=True),
                        fields=["-last_seen_at", "-id"],
                        name="current_newest_first",
                    ),
                ],
                "constraints": [
                    UniqueConstraint(
                        condition=Q(is_current=True),
                        fields=("credential", "connection_id"),
                        name="one_current_snapshot",
                    )
                ],
            },
        ),
        CreateModel(
            name="AccessReview",
            fields=columns(
                id=own_uuid(),
                name=CharField(max_length=200),
                scope=TextField(blank=True),
                state=CharField(
                    choices=[("open", "Open"), ("closed", "Closed")], default="open", max_length=8
                ),
                due_at=DateTimeField(),
                is_for_everyone=BooleanField(),
                row_count=PositiveIntegerField(),
                without_reviewer=PositiveIntegerField(),
                coverage=JSONField(),
                created_at=DateTimeField(),
                created_by_name=CharField(max_length=200),
                closed_at=DateTimeField(null=True),
                closed_by_name=CharField(blank=True, max_length=200),
                open_reason=TextField(blank=True),
                closing_digest=CharField(blank=True, max_length=64),
                appeared=JSONField(default=list),
                coverage_at_close=JSONField(null=True),
                week_reminder_at=DateTimeField(null=True),
                day_reminder_at=DateTimeField(null=True),
                overdue_reminder_at=DateTimeField(null=True),
                created_by=person(),
                closed_by=person(null=True),
            ),
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    Index(fields=["-created_at", "-id"], name="access_reviews_newest"),
                    Index(fields=["due_at"], condition=Q(state="open"), name="access_reviews_open"),
                ],
                "constraints": [
                    CheckConstraint(
                        condition=Q(
                            state="closed", closed_at__isnull=False, closed_by__isnull=False
                        )
                        & ~Q(closing_digest="")
                        | Q(
                            state="open",
                            closed_at__isnull=True,
                            closed_by__isnull=True,
                            open_reason="",
                        ),
                        name="closed_access_review_has_a_closing",
                    )
                ],
            },
        ),
        CreateModel(
            name="AccessReviewReviewer",
            fields=columns(
                id=own_number(),
                name=CharField(max_length=200),
                review=ForeignKey("connections.accessreview", PROTECT, related_name="reviewers"),
                person=person(),
            ),
            options={
                "ordering": ("name", "id"),
                "constraints": [
                    UniqueConstraint(fields=("review", "person"), name="one_reviewer_by_person")
                ],
            },
        ),
        CreateModel(
            name="AccessReviewRow",
            fields=columns(
                id=own_number(),
                source_org_id=CharField(blank=True, max_length=64),
                source_org_name=CharField(blank=True, max_length=1000),
                sink_org_id=CharField(blank=True, max_length=64),
                sink_org_name=CharField(blank=True, max_length=1000),
                connection_types=JSONField(default=list),
                connection_created_at=DateTimeField(null=True),
                creator_id=CharField(blank=True, max_length=64),
                creator_name=CharField(blank=True, max_length=1000),
                creator_is_disabled=BooleanField(null=True),
                creator_is_service_account=BooleanField(null=True),
                position=PositiveIntegerField(),
                site=CharField(max_length=100),
                connection_id=UUIDField(),
                digest=CharField(max_length=64),
                snapshot_at=DateTimeField(),
                review_digest=CharField(max_length=64),
                closed_as=CharField(
                    blank=True,
                    choices=[
                        ("pending", "Pending"),
                        ("keep", "Keep"),
                        ("delete", "Delete"),
                        ("gone", "Gone"),
                    ],
                    max_length=8,
                ),
                review=ForeignKey("connections.accessreview", PROTECT, related_name="rows"),
            ),
            options={
                "ordering": ("position",),
                "constraints": [
                    UniqueConstraint(
                        fields=("review", "position"), name="one_access_review_row_at_a_position"
                    ),
                    UniqueConstraint(
                        fields=("review", "site", "connection_id"),
                        name="one_access_review_row_for_a_connection",
                    ),
                ],
                "indexes": [Index(fields=["site", "connection_id"], name="access_review_rows_of")],
            },
        ),
        CreateModel(
            name="AccessReviewDecision",
            fields=columns(
                id=own_number(),
                decision=CharField(choices=[("keep", "Keep"), ("delete", "Delete")], max_length=8),
                reason=TextField(),
                keep_until=DateField(null=True),
                covered=JSONField(),
                review_digest=CharField(max_length=64),
                decided_at=DateTimeField(),
                decided_by_name=CharField(max_length=200),
                decided_together=PositiveIntegerField(),
                row=ForeignKey("connections.accessreviewrow", PROTECT, related_name="decisions"),
                decided_by=person(),
            ),
            options={
                "ordering": ("id",),
                "constraints": [
                    CheckConstraint(
                        condition=Q(keep_until__isnull=True) | Q(decision="keep"),
                        name="only_a_decision_to_keep_ends",
                    ),
                    CheckConstraint(condition=~Q(reason=""), name="a_decision_has_a_reason"),
                ],
                "indexes": [
                    Index(
                        fields=["keep_until"],
                        name="decisions_that_end",
                        condition=Q(keep_until__isnull=False),
                    )
                ],
            },
        ),
        CreateModel(
            name="Batch",
            fields=columns(
                id=own_uuid(),
                state=CharField(
                    choices=[
                        ("draft", "Draft"),
                        ("requested", "Requested"),
                        ("approved", "Approved"),
                        ("declined", "Declined"),
                        ("running", "Running"),
                        ("paused", "Paused"),
                        ("finished", "Finished"),
                        ("cancelled", "Cancelled"),
                        ("expired", "Expired"),
                    ],
                    default="draft",
                    max_length=16,
                ),
                origin=CharField(
                    choices=[
                        ("selection", "Selection"),
                        ("filter", "Filter"),
                        ("org", "Org"),
                        ("access_review", "Access Review"),
                    ],
                    max_length=16,
                ),
                filter_text=TextField(blank=True),
                site=CharField(blank=True, max_length=100),
                org_id=CharField(blank=True, max_length=64),
                org_name=CharField(blank=True, max_length=1000),
                digest=CharField(max_length=64),
                policy=CharField(choices=POLICIES, max_length=8),
                reason=TextField(blank=True),
                ticket=CharField(blank=True, max_length=200),
                stop_at_first_problem=BooleanField(default=False),
                approval_digest=CharField(blank=True, max_length=64),
                expires_at=DateTimeField(null=True),
                created_at=DateTimeField(),
                created_by_name=CharField(max_length=200),
                requested_at=DateTimeField(null=True),
                requested_by_name=CharField(blank=True, max_length=200),
                approved_at=DateTimeField(null=True),
                confirmed_at=DateTimeField(null=True),
                confirmed_by_name=CharField(blank=True, max_length=200),
                paused_at=DateTimeField(null=True),
                paused_by_name=CharField(blank=True, max_length=200),
                pause_cause=CharField(blank=True, max_length=40),
                pause_credential_name=CharField(blank=True, max_length=100),
                resumed_at=DateTimeField(null=True),
                ended_at=DateTimeField(null=True),
                ended_by_name=CharField(blank=True, max_length=200),
                ended_reason=TextField(blank=True),
                problems_in_a_row=JSONField(default=dict),
                created_by=person(null=True),
                requested_by=person(null=True),
                confirmed_by=person(null=True),
                access_review=ForeignKey(
                    "connections.accessreview", PROTECT, null=True, related_name="batches"
                ),
            ),
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    Index(fields=["-created_at", "-id"], name="batches_newest"),
                    Index(
                        fields=["created_at"],
                        name="batches_open",
                        condition=Q(ended_at__isnull=True),
                    ),
                ],
                "constraints": [
                    CheckConstraint(
                        condition=Q(state__in=ENDED_BATCH, ended_at__isnull=False)
                        | ~Q(state__in=ENDED_BATCH) & Q(ended_at__isnull=True),
                        name="ended_batch_has_a_time",
                    )
                ],
            },
        ),
        CreateModel(
            name="BatchRow",
            fields=columns(
                id=own_number(),
                source_org_id=CharField(blank=True, max_length=64),
                source_org_name=CharField(blank=True, max_length=1000),
                sink_org_id=CharField(blank=True, max_length=64),
                sink_org_name=CharField(blank=True, max_length=1000),
                connection_types=JSONField(default=list),
                connection_created_at=DateTimeField(null=True),
                creator_id=CharField(blank=True, max_length=64),
                creator_name=CharField(blank=True, max_length=1000),
                creator_is_disabled=BooleanField(null=True),
                creator_is_service_account=BooleanField(null=True),
                position=PositiveIntegerField(),
                text=CharField(max_length=200),
                site=CharField(blank=True, max_length=100),
                connection_id=UUIDField(null=True),
                digest=CharField(blank=True, max_length=64),
                snapshot_at=DateTimeField(null=True),
                problem=CharField(
                    blank=True,
                    choices=[
                        ("malformed_id", "Malformed Id"),
                        ("duplicate", "Duplicate"),
                        ("not_visible", "Not Visible"),
                        ("protected", "Protected"),
                        ("already_being_deleted", "Already Being Deleted"),
                        ("no_credential", "No Credential"),
                        ("changed", "Changed"),
                        ("kept", "Kept"),
                    ],
                    max_length=24,
                ),
                removed_at=DateTimeField(null=True),
                batch=ForeignKey("connections.batch", PROTECT, related_name="rows"),
                credential=ForeignKey(
                    "connections.credential", PROTECT, null=True, related_name="batch_rows"
                ),
            ),
            options={
                "ordering": ("position",),
                "constraints": [
                    UniqueConstraint(
                        fields=("batch", "position"), name="one_batch_row_at_a_position"
                    ),
                    UniqueConstraint(
                        condition=Q(connection_id__isnull=False) & ~Q(problem="duplicate"),
                        fields=("batch", "site", "connection_id"),
                        name="one_batch_row_for_a_connection",
                    ),
                    CheckConstraint(
                        condition=~Q(problem="")
                        | Q(connection_id__isnull=False, credential__isnull=False) & ~Q(digest=""),
                        name="batch_row_without_problem_can_be_sent",
                    ),
                ],
            },
        ),
        CreateModel(
            name="Deletion",
            fields=columns(
                source_org_id=CharField(blank=True, max_length=64),
                source_org_name=CharField(blank=True, max_length=1000),
                sink_org_id=CharField(blank=True, max_length=64),
                sink_org_name=CharField(blank=True, max_length=1000),
                connection_types=JSONField(default=list),
                connection_created_at=DateTimeField(null=True),
                creator_id=CharField(blank=True, max_length=64),
                creator_name=CharField(blank=True, max_length=1000),
                creator_is_disabled=BooleanField(null=True),
                creator_is_service_account=BooleanField(null=True),
                id=own_uuid(),
                request_id=UUIDField(unique=True),
                site=CharField(max_length=100),
                connection_id=UUIDField(),
                credential_name=CharField(max_length=100),
                credential_fingerprint=CharField(max_length=12),
                is_reviewed=BooleanField(),
                digest=CharField(max_length=64),
                snapshot_at=DateTimeField(null=True),
                reason=TextField(),
                ticket=CharField(blank=True, max_length=200),
                policy=CharField(choices=POLICIES, max_length=8),
                approval_digest=CharField(max_length=64),
                state=CharField(
                    choices=[
                        ("requested", "Requested"),
                        ("approved", "Approved"),
                        ("sending", "Sending"),
                        ("waiting", "Waiting"),
                        ("unknown", "Unknown"),
                        ("still_present", "Still Present"),
                        ("settled", "Settled"),
                    ],
                    default="requested",
                    max_length=16,
                ),
                outcome=CharField(
                    blank=True,
                    choices=[
                        ("deleted", "Deleted"),
                        ("already_absent", "Already Absent"),
                        ("gone_unattributed", "Gone Unattributed"),
                        ("refused", "Refused"),
                        ("not_sent", "Not Sent"),
                        ("stale", "Stale"),
                        ("declined", "Declined"),
                        ("withdrawn", "Withdrawn"),
                        ("expired", "Expired"),
                        ("unresolved", "Unresolved"),
                    ],
                    max_length=20,
                ),
                cause=CharField(blank=True, max_length=40),
                cause_details=JSONField(default=dict),
                epoch=PositiveIntegerField(default=0),
                due_at=DateTimeField(null=True),
                expires_at=DateTimeField(null=True),
                requested_at=DateTimeField(),
                requested_by_name=CharField(max_length=200),
                confirmed_at=DateTimeField(null=True),
                confirmed_by_name=CharField(blank=True, max_length=200),
                approved_at=DateTimeField(null=True),
                approval_round=PositiveIntegerField(db_default=1),
                break_glass_at=DateTimeField(null=True),
                break_glass_by_name=CharField(blank=True, max_length=200),
                break_glass_reason=TextField(blank=True),
                break_glass_round=PositiveIntegerField(null=True),
                sending_at=DateTimeField(null=True),
                settled_at=DateTimeField(null=True),
                settled_by_name=CharField(blank=True, max_length=200),
                settled_reason=TextField(blank=True),
                search_text=TextField(),
                last_checked_at=DateTimeField(null=True),
                last_check_listed=BooleanField(null=True),
                verified_at=DateTimeField(null=True),
                contradicted_at=DateTimeField(null=True),
                confirmed_by=person(null=True),
                credential=ForeignKey("connections.credential", PROTECT, related_name="deletions"),
                break_glass_by=person(null=True),
                requested_by=person(null=True),
                batch=ForeignKey("connections.batch", PROTECT, null=True, related_name="deletions"),
                batch_row=OneToOneField(
                    "connections.batchrow", PROTECT, null=True, related_name="deletion"
                ),
            ),
            options={
                "ordering": ("-requested_at", "-id"),
                "indexes": [
                    newest_first(name="history"),
                    newest_first("state", name="history_by_state"),
                    newest_first("outcome", name="history_by_outcome"),
                    newest_first("site", name="history_by_site"),
                    newest_first("credential", name="history_by_credential", last=["outcome"]),
                    newest_first("requested_by", name="history_by_person", last=["outcome"]),
                    newest_first("ticket", name="history_by_ticket"),
                    newest_first("source_org_id", name="history_by_source", last=["outcome"]),
                    newest_first("sink_org_id", name="history_by_sink", last=["outcome"]),
                    newest_first("connection_id", name="history_of_one"),
                    Index(
                        fields=["due_at"], name="deletions_due", condition=Q(due_at__isnull=False)
                    ),
                    Index(
                        fields=["requested_at", "id"],
                        name="deletions_open",
                        condition=Q(settled_at__isnull=True),
                    ),
                    Index(
                        fields=["requested_at", "id"],
                        name="deletions_contradicted",
                        condition=Q(contradicted_at__isnull=False),
                    ),
                    Index(
                        fields=["requested_at", "id"],
                        name="deletions_break_glass",
                        condition=Q(break_glass_at__isnull=False),
                    ),
                    Index(
                        fields=["outcome", "requested_at", "id"],
                        name="deletions_unverified",
                        condition=Q(verified_at__isnull=True),
                    ),
                ],
                "constraints": [
                    UniqueConstraint(
                        condition=~Q(state="settled"),
                        fields=("site", "connection_id"),
                        name="one_open_deletion",
                    ),
                    CheckConstraint(
                        condition=Q(settled_at__isnull=False, state="settled") & ~Q(outcome="")
                        | ~Q(state="settled") & Q(outcome="", settled_at__isnull=True),
                        name="settled_has_an_outcome",
                    ),
                    CheckConstraint(
                        condition=Q(
                            break_glass_at__isnull=True,
                            break_glass_by__isnull=True,
                            break_glass_reason="",
                        )
                        | Q(break_glass_at__isnull=False, break_glass_by__isnull=False)
                        & ~Q(break_glass_reason="")
                        & ~Q(policy="none"),
                        name="break_glass_has_person_reason_time",
                    ),
                    CheckConstraint(
                        condition=Q(batch__isnull=True, batch_row__isnull=True)
                        | Q(
                            batch__isnull=False,
                            batch_row__isnull=False,
                            break_glass_at__isnull=True,
                        ),
                        name="break_glass_never_for_a_batch",
                    ),
                ],
            },
        ),
        CreateModel(
            name="Attempt",
            fields=columns(
                id=own_number(),
                number=PositiveSmallIntegerField(),
                epoch=PositiveIntegerField(),
                approval_round=PositiveIntegerField(db_default=1),
                credential_name=CharField(max_length=100),
                credential_fingerprint=CharField(max_length=12),
                was_rechecked=BooleanField(),
                claimed_at=DateTimeField(),
                verdict=CharField(blank=True, max_length=12),
                cause=CharField(blank=True, max_length=40),
                answered_at=DateTimeField(null=True),
                is_late=BooleanField(default=False),
                duration_ms=PositiveIntegerField(null=True),
                http_status=PositiveSmallIntegerField(null=True),
                headers=JSONField(default=dict),
                body=BinaryField(default=bytes),
                body_sha256=CharField(blank=True, max_length=64),
                body_is_complete=BooleanField(null=True),
                errors=JSONField(default=list),
                deletion=ForeignKey("connections.deletion", PROTECT, related_name="attempts"),
            ),
            options={
                "ordering": ("number",),
                "constraints": [
                    UniqueConstraint(fields=("deletion", "number"), name="attempt_number"),
                    UniqueConstraint(fields=("deletion", "epoch"), name="one_attempt_per_claim"),
                ],
            },
        ),
        CreateModel(
            name="Approval",
            fields=columns(
                id=own_number(),
                approver_name=CharField(max_length=200),
                round=PositiveIntegerField(db_default=1),
                decision=CharField(
                    choices=[("approved", "Approved"), ("declined", "Declined")], max_length=10
                ),
                digest=CharField(max_length=64),
                reason=TextField(blank=True),
                decided_at=DateTimeField(),
                approver=person(),
                requester=person(null=True),
                deletion=ForeignKey("connections.deletion", PROTECT, related_name="approvals"),
            ),
            options={
                "ordering": ("decided_at", "id"),
                "constraints": [
                    UniqueConstraint(
                        fields=("deletion", "approver", "round"), name="one_decision_each_round"
                    ),
                    CheckConstraint(
                        condition=~Q(approver=F("requester")), name="nobody_approves_their_own"
                    ),
                    CheckConstraint(
                        condition=~Q(decision="declined", reason=""), name="declining_has_a_reason"
                    ),
                ],
            },
        ),
        CreateModel(
            name="BreakGlassReview",
            fields=columns(
                deletion=OneToOneField(
                    "connections.deletion",
                    PROTECT,
                    primary_key=True,
                    related_name="break_glass_review",
                    serialize=False,
                ),
                reviewer_name=CharField(max_length=200),
                note=TextField(),
                reviewed_at=DateTimeField(),
                breaker=person(),
                requester=person(null=True),
                reviewer=person(),
            ),
            options={
                "constraints": [
                    CheckConstraint(
                        condition=~Q(reviewer=F("breaker")) & ~Q(reviewer=F("requester")),
                        name="nobody_reviews_their_own",
                    ),
                    CheckConstraint(condition=~Q(note=""), name="break_glass_review_has_a_note"),
                ]
            },
        ),
        CreateModel(
            name="ProviderAccount",
            fields=columns(
                id=own_uuid(),
                issuer=CharField(max_length=255),
                subject=CharField(max_length=255),
                created_at=DateTimeField(),
                person=ForeignKey(PERSON, CASCADE, related_name="provider_accounts"),
            ),
            options={
                "constraints": [
                    UniqueConstraint(
                        fields=("issuer", "subject"), name="one_person_by_provider_account"
                    ),
                    UniqueConstraint(
                        fields=("person", "issuer"), name="one_provider_account_by_person"
                    ),
                ]
            },
        ),
        CreateModel(
            name="SignInLink",
            fields=columns(
                id=own_uuid(),
                purpose=CharField(
                    choices=[("set_up", "Set Up"), ("sign_in", "Sign In")], max_length=16
                ),
                token_hash=CharField(max_length=64, unique=True),
                removes_second_factor=BooleanField(default=False),
                made_by_name=CharField(max_length=200),
                created_at=DateTimeField(),
                expires_at=DateTimeField(),
                used_at=DateTimeField(null=True),
                person=ForeignKey(PERSON, CASCADE, null=True, related_name="sign_in_links"),
            ),
            options={"ordering": ("-created_at",)},
        ),
        CreateModel(
            name="Notification",
            fields=columns(
                id=own_uuid(),
                code=CharField(max_length=60),
                event_seq=BigIntegerField(null=True),
                subject_type=CharField(blank=True, max_length=20),
                subject_id=CharField(blank=True, max_length=64),
                channel=CharField(
                    choices=[
                        ("mail", "Mail"),
                        ("webhook", "Webhook"),
                        ("file", "Checkpoint file"),
                    ],
                    max_length=16,
                ),
                address_key=CharField(blank=True, max_length=16),
                state=CharField(
                    choices=[
                        ("waiting", "Waiting"),
                        ("delivered", "Delivered"),
                        ("given_up", "Given Up"),
                        ("dropped", "Dropped"),
                    ],
                    default="waiting",
                    max_length=10,
                ),
                created_at=DateTimeField(),
                due_at=DateTimeField(null=True),
                attempts=PositiveSmallIntegerField(default=0),
                answered_at=DateTimeField(null=True),
                status=PositiveSmallIntegerField(null=True),
                result=CharField(blank=True, max_length=200),
                person=person(null=True),
            ),
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    Index(fields=["-created_at", "-id"], name="notices"),
                    Index(fields=["state", "-created_at", "-id"], name="notices_by_state"),
                    Index(
                        fields=["channel", "due_at"],
                        name="notices_due",
                        condition=Q(due_at__isnull=False),
                    ),
                ],
            },
        ),
        CreateModel(
            name="Protection",
            fields=columns(
                id=own_number(),
                site=CharField(max_length=100),
                connection_id=UUIDField(),
                number=PositiveIntegerField(),
                reason=TextField(),
                protected_at=DateTimeField(),
                protected_by=person(),
            ),
            options={
                "ordering": ("-protected_at", "-id"),
                "constraints": [
                    UniqueConstraint(
                        fields=("site", "connection_id", "number"), name="one_protection_at_a_time"
                    )
                ],
            },
        ),
        CreateModel(
            name="ProtectionRemoval",
            fields=columns(
                id=own_number(),
                reason=TextField(),
                removed_at=DateTimeField(),
                removed_by=person(),
                protection=OneToOneField("connections.protection", PROTECT, related_name="removal"),
                protector=person(),
            ),
            options={
                "constraints": [
                    CheckConstraint(
                        condition=~Q(removed_by=F("protector")), name="nobody_removes_their_own"
                    )
                ]
            },
        ),
        CreateModel(
            name="Org",
            fields=columns(
                id=own_number(),
                site=CharField(max_length=100),
                org_id=CharField(max_length=64),
                name=CharField(blank=True, max_length=1000),
                first_seen_at=DateTimeField(),
                established_at=DateTimeField(),
                managed_by=ManyToManyField(
                    related_name="managed_orgs", to="connections.credential"
                ),
            ),
            options={
                "ordering": ("name", "site", "org_id"),
                "constraints": [
                    UniqueConstraint(fields=("site", "org_id"), name="one_row_per_org")
                ],
            },
        ),
        CreateModel(
            name="KnownConnection",
            fields=columns(
                id=own_number(),
                site=CharField(max_length=100),
                connection_id=UUIDField(),
                source_org_id=CharField(max_length=64),
                sink_org_id=CharField(max_length=64),
                connection_types=JSONField(),
                created_at=DateTimeField(null=True),
                creator_id=CharField(blank=True, max_length=64),
                creator_name=CharField(blank=True, max_length=1000),
                creator_is_disabled=BooleanField(null=True),
                creator_is_service_account=BooleanField(null=True),
                is_present=BooleanField(default=True),
                established_at=DateTimeField(),
                last_shown_at=DateTimeField(),
                lost_at=DateTimeField(null=True),
            ),
            options={
                "indexes": [
                    Index(fields=["site", "source_org_id", "sink_org_id"], name="known_of_orgs"),
                    Index(
                        fields=["site"], condition=Q(lost_at__isnull=False), name="known_and_lost"
                    ),
                ],
                "constraints": [
                    UniqueConstraint(
                        fields=("site", "connection_id"), name="one_row_per_known_connection"
                    ),
                    CheckConstraint(
                        condition=Q(lost_at__isnull=True) | Q(is_present=True),
                        name="only_a_present_connection_gets_lost",
                    ),
                ],
            },
        ),
        CreateModel(
            name="OrgRateLimit",
            fields=columns(
                id=own_number(),
                site=CharField(max_length=100),
                org_id=CharField(max_length=64),
                name=CharField(blank=True, max_length=100),
                limit=PositiveIntegerField(),
                remaining=PositiveIntegerField(),
                observed_at=DateTimeField(),
                resets_at=DateTimeField(),
            ),
            options={
                "constraints": [
                    UniqueConstraint(
                        fields=("site", "org_id", "name"), name="one_row_per_rate_limit"
                    )
                ],
            },
        ),
        CreateModel(
            name="Change",
            fields=columns(
                id=own_uuid(),
                number=BigIntegerField(unique=True),
                kind=CharField(
                    choices=[
                        ("appeared", "Appeared"),
                        ("removed", "Removed"),
                        ("recreated", "Recreated"),
                        ("types_changed", "Types Changed"),
                        ("creator_changed", "Creator Changed"),
                        ("org_renamed", "Org Renamed"),
                    ],
                    max_length=16,
                ),
                site=CharField(max_length=100),
                connection_id=UUIDField(null=True),
                org_id=CharField(blank=True, max_length=64),
                org_name=CharField(blank=True, max_length=1000),
                source_org_id=CharField(blank=True, max_length=64),
                source_org_name=CharField(blank=True, max_length=1000),
                sink_org_id=CharField(blank=True, max_length=64),
                sink_org_name=CharField(blank=True, max_length=1000),
                before=JSONField(null=True),
                after=JSONField(null=True),
                widened=BooleanField(null=True),
                newly_visible=BooleanField(default=False),
                needs_attention=BooleanField(default=False),
                earliest_at=DateTimeField(),
                detected_at=DateTimeField(),
                recorded_at=DateTimeField(),
                deletion=ForeignKey(
                    null=True,
                    on_delete=PROTECT,
                    related_name="changes",
                    to="connections.deletion",
                ),
                observed_by=JSONField(default=list),
                not_checked_by=JSONField(default=list),
                search_text=TextField(),
                acknowledged_at=DateTimeField(null=True),
                acknowledged_by=person(null=True),
                note=TextField(blank=True),
            ),
            options={
                "ordering": ("-number",),
                "indexes": [
                    Index(fields=["kind", "number"], name="changes_by_kind"),
                    Index(fields=["site", "number"], name="changes_by_site"),
                    Index(fields=["connection_id", "number"], name="changes_of_connection"),
                    Index(fields=["site", "detected_at", "connection_id"], name="changes_recent"),
                    Index(fields=["source_org_id", "number"], name="changes_by_source"),
                    Index(fields=["sink_org_id", "number"], name="changes_by_sink"),
                    Index(
                        fields=["org_id", "number"], condition=~Q(org_id=""), name="changes_of_org"
                    ),
                    Index(
                        fields=["number"],
                        condition=Q(needs_attention=True, acknowledged_at__isnull=True),
                        name="changes_to_acknowledge",
                    ),
                ],
                "constraints": [
                    CheckConstraint(
                        condition=Q(
                            acknowledged_at__isnull=True, acknowledged_by__isnull=True, note=""
                        )
                        | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False)
                        & ~Q(note=""),
                        name="acknowledged_by_a_person_with_a_note",
                    ),
                ],
            },
        ),
        CreateModel(
            name="PersonSession",
            fields=columns(
                session_data=TextField(verbose_name="session data"),
                expire_date=DateTimeField(db_index=True, verbose_name="expire date"),
                key_hash=CharField(max_length=64, primary_key=True, serialize=False),
                person_id=UUIDField(db_index=True, null=True),
            ),
            options={"verbose_name": "session", "verbose_name_plural": "sessions"},
        ),
        CreateModel(
            name="WorkerHeartbeat",
            fields=columns(
                id=own_number(),
                name=CharField(max_length=200, unique=True),
                host=CharField(max_length=100),
                process_id=PositiveIntegerField(),
                batch=ForeignKey("connections.batch", CASCADE, null=True, related_name="+"),
                started_at=DateTimeField(),
                seen_at=DateTimeField(db_index=True),
            ),
            options={"ordering": ("-seen_at", "name")},
        ),
        CreateModel(
            name="PeriodicTask",
            fields=columns(
                name=CharField(max_length=40, primary_key=True, serialize=False),
                due_at=DateTimeField(),
            ),
        ),
    ]
