"""What Datadog said about org connections: each listing, and a snapshot of each connection."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from connections.models.credentials import Credential


class Sync(models.Model):
    """One reading of one credential's org connections, complete or not."""

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="listings")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    # Only a complete listing says that a connection is absent.
    is_complete = models.BooleanField()
    count = models.PositiveIntegerField(default=0)
    cause = models.CharField(max_length=40, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    errors = models.JSONField(default=list)

    class Meta:
        ordering = ("-started_at", "-id")
        indexes = [models.Index(fields=["credential", "-started_at", "-id"], name="listing_newest")]

    def __str__(self) -> str:
        return f"listing of {self.credential_id} at {self.started_at:%Y-%m-%d %H:%M:%S}"


class SnapshotFields(models.Model):
    """What Datadog says about one org connection, as it is frozen beside a deletion too."""

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

    def snapshot_values(self) -> dict[str, Any]:
        """Every field of this class, by name."""
        return {name: getattr(self, name) for name in SNAPSHOT_FIELD_NAMES}


SNAPSHOT_FIELD_NAMES = tuple(field.attname for field in SnapshotFields._meta.local_concrete_fields)


def snapshot_digest(*, site: str, connection_id: str, fields: SnapshotFields) -> str:
    """SHA-256 over what a person decides on: site, id, both orgs by id and name, the types.

    A deletion is sent only while this is what Datadog still says. The creator is left out: a
    creator who was disabled meanwhile does not change what the deletion does.
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
    """Which org connection, whether anybody here ever saw it or not."""

    site: str
    connection_id: UUID

    def __str__(self) -> str:
        return f"{self.connection_id} on {self.site}"


class OrgConnectionSnapshot(SnapshotFields):
    """One org connection as one credential saw it; a change makes a new row."""

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="snapshots")
    site = models.CharField(max_length=100)
    connection_id = models.UUIDField()
    digest = models.CharField(max_length=64)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    # False once a complete listing no longer shows it, or shows it changed.
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
        ]

    def __str__(self) -> str:
        return f"{self.source_org_name} → {self.sink_org_name} ({self.connection_id})"


class Protection(models.Model):
    """Somebody's word that one connection must stay, by site and id: stored here or not.

    It holds until its lifting. Triggers (migration 0004) refuse to change or remove a row, so
    there is no copy of a name in it that erasing a person would have to change.
    """

    site = models.CharField(max_length=100)
    connection_id = models.UUIDField()
    # Counts the protections of one connection, so that of two at once one is refused.
    number = models.PositiveIntegerField()
    reason = models.TextField()
    protected_at = models.DateTimeField()
    protected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-protected_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=["site", "connection_id", "number"], name="one_protection_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"protection {self.number} of {self.connection_id} on {self.site}"

    @property
    def key(self) -> OrgConnectionKey:
        """Which connection it is about."""
        return OrgConnectionKey(site=self.site, connection_id=self.connection_id)


class ProtectionRemoval(models.Model):
    """Another person's word that the connection may be deleted again."""

    protection = models.OneToOneField(Protection, on_delete=models.PROTECT, related_name="lifting")
    reason = models.TextField()
    lifted_at = models.DateTimeField()
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    # A copy, so that the database itself can refuse to let somebody lift their own; a trigger
    # refuses one that is not the protection's.
    protector = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(lifted_by=F("protector")), name="nobody_lifts_their_own"
            )
        ]

    def __str__(self) -> str:
        return f"lifting of {self.protection_id}"
