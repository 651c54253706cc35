"""What complete syncs established about orgs and connections, and the changes they found."""

import uuid

from django.db import models
from django.db.models import Q

from connections.models.coded import CodeField
from connections.models.credentials import Credential
from connections.models.deletions import Deletion
from connections.models.org_connections import ConnectionFields, OrgConnectionKey
from connections.models.references import optional_person_reference


class Org(models.Model):
    """One Datadog org: a credential's own, a side of a listed connection, or a managed org."""

    site = models.CharField(max_length=100)
    org_id = models.CharField(max_length=64)
    # Empty until Datadog has given a name.
    name = models.CharField(max_length=1000, blank=True)
    first_seen_at = models.DateTimeField()
    # When the sync that established the name finished.
    established_at = models.DateTimeField()
    # "production", for example.
    group = models.CharField(max_length=60, blank=True, db_default="")
    # Who answers for the access to its data where no agreement names an owner.
    owner = optional_person_reference()
    # The credentials whose list of managed orgs names it.
    managed_by = models.ManyToManyField(Credential, related_name="managed_orgs")

    class Meta:
        ordering = ("name", "site", "org_id")
        constraints = [models.UniqueConstraint(fields=["site", "org_id"], name="one_row_per_org")]

    def __str__(self) -> str:
        return f"{self.name or '?'} ({self.org_id} on {self.site})"


class KnownConnection(ConnectionFields):
    """What complete syncs established about one connection, whichever credentials list it.

    Changes are differences from this. The creator's fields are empty or null while unknown.
    """

    source_org_id = models.CharField(max_length=64)
    sink_org_id = models.CharField(max_length=64)
    connection_types = models.JSONField()
    created_at = models.DateTimeField(null=True)
    creator_id = models.CharField(max_length=64, blank=True)
    creator_name = models.CharField(max_length=1000, blank=True)
    creator_is_disabled = models.BooleanField(null=True)
    creator_is_service_account = models.BooleanField(null=True)
    is_present = models.BooleanField(default=True)
    # When the sync that established these values finished. A sync that began before that might show
    # older values.
    established_at = models.DateTimeField()
    # The start of the newest complete sync that listed it and added nothing to these values.
    last_shown_at = models.DateTimeField()
    # The start of a complete sync that lacked it. Set until the other credentials that list it have
    # a complete sync, or have failed for 24 hours.
    lost_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["site", "connection_id"], name="one_row_per_known_connection"
            ),
            models.CheckConstraint(
                condition=Q(lost_at__isnull=True) | Q(is_present=True),
                name="only_a_present_connection_gets_lost",
            ),
        ]
        indexes = [
            models.Index(fields=["site", "source_org_id", "sink_org_id"], name="known_of_orgs"),
            models.Index(
                fields=["site"], condition=Q(lost_at__isnull=False), name="known_and_lost"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.connection_id} on {self.site}"


class Change(models.Model):
    """A difference between two complete syncs. It belongs to a connection, or to a renamed org.

    Triggers only let rows be added. The acknowledgement is set once.
    """

    class Kind(models.TextChoices):
        APPEARED = "appeared"
        REMOVED = "removed"
        RECREATED = "recreated"  # another ID for the same source and destination org
        TYPES_CHANGED = "types_changed", "Types changed"
        # A different creator, or one who became disabled.
        CREATOR_CHANGED = "creator_changed", "Creator changed"
        ORG_RENAMED = "org_renamed", "Org renamed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # 1, 2, 3, … in the order of the commits.
    number = models.BigIntegerField(unique=True)
    kind = CodeField(max_length=16, choices=Kind)
    site = models.CharField(max_length=100)
    # Null for a renamed org, which is in `org_id` and `org_name`.
    connection_id = models.UUIDField(null=True)
    org_id = models.CharField(max_length=64, blank=True)
    org_name = models.CharField(max_length=1000, blank=True)
    source_org_id = models.CharField(max_length=64, blank=True)
    source_org_name = models.CharField(max_length=1000, blank=True)
    sink_org_id = models.CharField(max_length=64, blank=True)
    sink_org_name = models.CharField(max_length=1000, blank=True)
    # What changed, as in `list_changes --json`.
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    # Whether a data type was added. Null if the types were not compared.
    widened = models.BooleanField(null=True)
    # A connection that was unknown but is older than the credential's previous complete sync.
    newly_visible = models.BooleanField(default=False)
    needs_attention = models.BooleanField(default=False)
    # It happened between the start of the last complete sync that showed the old state and the
    # start of the first one that showed the new state.
    earliest_at = models.DateTimeField()
    detected_at = models.DateTimeField()
    # When the row was stored. Never earlier than for a lower number, unless the clock was set back.
    recorded_at = models.DateTimeField()
    # Org Admin's deletion that might have caused the removal, of this connection or of the one that
    # was recreated.
    deletion = models.ForeignKey(
        Deletion, on_delete=models.PROTECT, null=True, related_name="changes"
    )
    # IDs of the credentials whose syncs showed it, and of those that listed a removed connection
    # but whose syncs had failed for 24 hours.
    observed_by = models.JSONField(default=list)
    not_checked_by = models.JSONField(default=list)
    # Case-folded names and IDs for the search.
    search_text = models.TextField()

    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = optional_person_reference()
    note = models.TextField(blank=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.CheckConstraint(
                condition=Q(acknowledged_at__isnull=True, acknowledged_by__isnull=True, note="")
                | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False) & ~Q(note=""),
                name="acknowledged_by_a_person_with_a_note",
            ),
        ]
        # Each ends with the number, so that a filtered page is read from the index.
        indexes = [
            models.Index(fields=["kind", "number"], name="changes_by_kind"),
            models.Index(fields=["site", "number"], name="changes_by_site"),
            models.Index(fields=["connection_id", "number"], name="changes_of_connection"),
            # For the connections of a site that changed recently.
            models.Index(fields=["site", "detected_at", "connection_id"], name="changes_recent"),
            models.Index(fields=["source_org_id", "number"], name="changes_by_source"),
            models.Index(fields=["sink_org_id", "number"], name="changes_by_sink"),
            models.Index(
                fields=["org_id", "number"], condition=~Q(org_id=""), name="changes_of_org"
            ),
            # There are few, and the overview always queries them.
            models.Index(
                fields=["number"],
                condition=Q(needs_attention=True, acknowledged_at__isnull=True),
                name="changes_to_acknowledge",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    @property
    def key(self) -> OrgConnectionKey | None:
        """The connection that changed; None for a renamed org."""
        if self.connection_id is None:
            return None
        return OrgConnectionKey(site=self.site, connection_id=self.connection_id)

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether it needs attention and has not been acknowledged."""
        return self.needs_attention and self.acknowledged_at is None
