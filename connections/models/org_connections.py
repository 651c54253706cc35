"""Org connections: syncs, snapshots of each connection, and protections."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import F, Q

from connections.models.credentials import Credential
from connections.models.references import person_reference


class Sync(models.Model):
    """One read of the connection list of a credential's org, complete or failed."""

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="syncs")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    # Only a complete sync proves that a connection is absent.
    is_complete = models.BooleanField()
    count = models.PositiveIntegerField(default=0)
    cause = models.CharField(max_length=40, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    errors = models.JSONField(default=list)

    class Meta:
        ordering = ("-started_at", "-id")
        indexes = [models.Index(fields=["credential", "-started_at", "-id"], name="sync_newest")]

    def __str__(self) -> str:
        return f"sync of {self.credential_id} at {self.started_at:%Y-%m-%d %H:%M:%S}"


class SyncDay(models.Model):
    """When the complete syncs of an org ended on one day, in UTC.

    Syncs are deleted after 90 days. This stays, so that it can still be said how recent what is
    known about the org was at a time.
    """

    site = models.CharField(max_length=100)
    org_id = models.CharField(max_length=64)
    day = models.DateField()
    first_at = models.DateTimeField()
    newest_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["site", "org_id", "day"], name="one_sync_day")
        ]

    def __str__(self) -> str:
        return f"complete syncs of {self.org_id} on {self.site} on {self.day}"


class SyncProblem(models.Model):
    """Syncs of a site that fail for one kind of reason, and what was last reported about it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    site = models.CharField(max_length=100)
    # A FailureKind.
    cause = models.CharField(max_length=20)
    # When the first of the failed syncs began. None while none fails.
    failing_since = models.DateTimeField(null=True)
    found_at = models.DateTimeField(null=True)
    # The credentials whose syncs fail or, after they recovered, whose syncs failed.
    credential_ids = models.JSONField(default=list)
    failing_notified_at = models.DateTimeField(null=True)
    recovered_notified_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["site", "cause"], name="one_sync_problem")]

    def __str__(self) -> str:
        return f"syncs of {self.site}: {self.cause}"


class SnapshotFields(models.Model):
    """What Datadog reports about one org connection. Deletions store a copy of it."""

    source_org_id = models.CharField(max_length=64, blank=True)
    source_org_name = models.CharField(max_length=1000, blank=True)
    sink_org_id = models.CharField(max_length=64, blank=True)
    sink_org_name = models.CharField(max_length=1000, blank=True)
    connection_types = models.JSONField(default=list)
    connection_created_at = models.DateTimeField(null=True)
    creator_id = models.CharField(max_length=64, blank=True)
    creator_name = models.CharField(max_length=1000, blank=True)
    creator_is_disabled = models.BooleanField(null=True)
    creator_is_service_account = models.BooleanField(null=True)

    class Meta:
        abstract = True

    @property
    def source_org(self) -> dict[str, Any]:
        """The org whose data is shared, as exports and events name it."""
        return {"id": self.source_org_id, "name": self.source_org_name}

    @property
    def sink_org(self) -> dict[str, Any]:
        """The org that queries the data, as exports and events name it."""
        return {"id": self.sink_org_id, "name": self.sink_org_name}

    @property
    def pair(self) -> str:
        """ "Labs → Mobile", with the ID of an org that has no name."""
        source = self.source_org_name or self.source_org_id or "Unknown org"
        return f"{source} → {self.sink_org_name or self.sink_org_id or 'Unknown org'}"

    @property
    def creator(self) -> dict[str, Any]:
        """Who created the connection, as exports name them."""
        return {
            "id": self.creator_id,
            "name": self.creator_name,
            "disabled": self.creator_is_disabled,
            "service_account": self.creator_is_service_account,
        }

    def snapshot_values(self) -> dict[str, Any]:
        """The snapshot fields and their values, by name."""
        return {name: getattr(self, name) for name in SNAPSHOT_FIELD_NAMES}


SNAPSHOT_FIELD_NAMES = tuple(field.attname for field in SnapshotFields._meta.local_concrete_fields)


def snapshot_digest(*, site: str, connection_id: str, fields: SnapshotFields) -> str:
    """SHA-256 of what a person reviews: site, ID, both orgs' IDs and names, and the data types.

    A deletion is sent only while Datadog still reports the same. The creator is left out, because
    disabling the creator doesn't change what the deletion does.
    """
    decided_on = [
        "org connection, version 1",
        site,
        connection_id,
        fields.source_org_id,
        fields.source_org_name,
        fields.sink_org_id,
        fields.sink_org_name,
        sorted(fields.connection_types),
    ]
    return hashlib.sha256(json.dumps(decided_on, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class OrgConnectionKey:
    """Identifies an org connection, whether or not a sync ever listed it."""

    site: str
    connection_id: UUID

    def __str__(self) -> str:
        return f"{self.connection_id} on {self.site}"

    @property
    def reference(self) -> str:
        """As forms and plans name it: "<site>/<connection ID>"."""
        return f"{self.site}/{self.connection_id}"


class ConnectionFields(models.Model):
    """Which org connection a row is about, whether or not a sync ever listed it."""

    site = models.CharField(max_length=100)
    connection_id = models.UUIDField()

    class Meta:
        abstract = True

    @property
    def key(self) -> OrgConnectionKey:
        """The connection."""
        return OrgConnectionKey(site=self.site, connection_id=self.connection_id)


class OrgConnectionSnapshot(ConnectionFields, SnapshotFields):
    """One org connection as one credential's syncs listed it. A change creates a new row."""

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    # False once a complete sync no longer lists it, or lists it with changes.
    is_current = models.BooleanField(default=True)

    class Meta:
        ordering = ("source_org_name", "sink_org_name", "connection_id")
        constraints = [
            models.UniqueConstraint(
                fields=["credential", "connection_id"],
                condition=models.Q(is_current=True),
                name="one_current_snapshot",
            )
        ]
        indexes = [
            models.Index(fields=["site", "connection_id", "-last_seen_at"], name="snapshot_of"),
            models.Index(fields=["site", "source_org_id", "sink_org_id"], name="snapshot_of_orgs"),
            models.Index(fields=["site", "sink_org_id"], name="snapshot_of_sink"),
            # For counting the pairs of orgs in the newest syncs without reading the rows.
            models.Index(
                fields=["site", "source_org_id", "sink_org_id", "connection_id", "credential"],
                condition=Q(is_current=True),
                name="current_pairs_of_orgs",
            ),
            # For counting the pairs by destination org in the same way.
            models.Index(
                fields=["site", "sink_org_id", "connection_id", "credential"],
                condition=Q(is_current=True),
                name="current_of_sink",
            ),
            # For whether credentials list a connection now. Without it, SQLite would search all of
            # the site's connections in the index above.
            models.Index(
                fields=["site", "connection_id", "credential"],
                condition=Q(is_current=True),
                name="current_of_connection",
            ),
            # For the inventory, without reading older snapshots.
            models.Index(
                fields=["-last_seen_at", "-id"],
                condition=Q(is_current=True),
                name="current_newest_first",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source_org_name} → {self.sink_org_name} ({self.connection_id})"


class Protection(ConnectionFields):
    """Blocks all deletions of one connection, known here or not, until it is removed.

    Triggers refuse to change or remove a row. It has no copy of a person's name, because erasing
    the person would then have to change it.
    """

    # Numbers the protections of one connection, so that one of two simultaneous ones is refused.
    number = models.PositiveIntegerField()
    reason = models.TextField()
    protected_at = models.DateTimeField()
    protected_by = person_reference()

    class Meta:
        ordering = ("-protected_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=["site", "connection_id", "number"], name="one_protection_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"protection {self.number} of {self.connection_id} on {self.site}"


class ProtectionRemoval(models.Model):
    """The removal of a protection, by another person."""

    protection = models.OneToOneField(Protection, on_delete=models.PROTECT, related_name="removal")
    reason = models.TextField()
    removed_at = models.DateTimeField()
    removed_by = person_reference()
    # Copied so that a database constraint can refuse people who remove their own protection. A
    # trigger refuses a value that differs from the protection's.
    protector = person_reference()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(removed_by=F("protector")), name="nobody_removes_their_own"
            )
        ]

    def __str__(self) -> str:
        return f"removal of {self.protection_id}"
