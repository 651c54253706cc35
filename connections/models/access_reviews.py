"""Access reviews: a frozen population of connections, and append-only decisions about them."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import date
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet

from connections.models.coded import CodeField
from connections.models.org_connections import ConnectionFields, SnapshotFields
from connections.models.references import optional_person_reference, person_reference


class AccessReviewState(models.TextChoices):
    """The state of an access review."""

    OPEN = "open"
    CLOSED = "closed"  # nothing about it changes from then on


class ReviewDecision(models.TextChoices):
    """What a reviewer decides about one connection."""

    KEEP = "keep"
    DELETE = "delete"


class RowState(models.TextChoices):
    """The state of one connection of an access review, now or at its closing."""

    # No decision counts: there is none, it expired, or what it covers changed.
    PENDING = "pending", "To decide"
    KEEP = "keep"
    DELETE = "delete"
    GONE = "gone"  # no credential in use still lists it, so it needs no decision


class Assignment(models.TextChoices):
    """Who decides on which rows."""

    REVIEWERS = "", "Reviewers"  # each reviewer on every row that they can see
    # Each row: the agreement's owner, else the source org's, else as above.
    OWNERS = "owners", "Owners"


class AccessReview(models.Model):
    """An access review, from start to closing.

    Names of people are copied in addition to the reference, as in a deletion.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    # The query string of the inventory's filter.
    scope = models.TextField(blank=True)
    state = models.CharField(
        max_length=8, choices=AccessReviewState, default=AccessReviewState.OPEN
    )
    # The end of the due date, in UTC.
    due_at = models.DateTimeField()
    # True without named reviewers: everyone who can be one and sees the connection can decide.
    is_for_everyone = models.BooleanField()
    assignment = models.CharField(max_length=10, choices=Assignment, blank=True, db_default="")
    # Whether each row's owner was fixed when it started. Before 1.2.0, it followed the agreements.
    has_fixed_owners = models.BooleanField(null=True)
    # The worker starts the next one so many months after this one. Null if it doesn't repeat.
    repeat_months = models.PositiveSmallIntegerField(null=True)
    # The access review that this one repeats.
    repeats = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    # When the next one could last not be started.
    repeat_failed_at = models.DateTimeField(null=True)
    # How many rows it has. The database refuses more.
    row_count = models.PositiveIntegerField()
    # How many of these rows no reviewer could decide on at the start.
    without_reviewer = models.PositiveIntegerField()
    # How complete the inventory was: each credential's newest sync, and orgs without a credential.
    coverage = models.JSONField()
    created_at = models.DateTimeField()
    created_by = person_reference()
    created_by_name = models.CharField(max_length=200)

    closed_at = models.DateTimeField(null=True)
    closed_by = optional_person_reference()
    closed_by_name = models.CharField(max_length=200, blank=True)
    # Why pending rows were left open.
    open_reason = models.TextField(blank=True)
    # SHA-256 of the final states, the connections that appeared, the coverage and the reason.
    closing_digest = models.CharField(max_length=64, blank=True)
    # Connections that match the scope at the closing but are not in the population.
    appeared = models.JSONField(default=list)
    coverage_at_close = models.JSONField(null=True)

    # When each reminder was sent, or skipped because a later one was sent instead.
    week_reminder_at = models.DateTimeField(null=True)
    day_reminder_at = models.DateTimeField(null=True)
    overdue_reminder_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.CheckConstraint(
                condition=Q(state="closed", closed_at__isnull=False, closed_by__isnull=False)
                & ~Q(closing_digest="")
                | Q(state="open", closed_at__isnull=True, closed_by__isnull=True, open_reason=""),
                name="closed_access_review_has_a_closing",
            ),
            models.UniqueConstraint(
                fields=["repeats"],
                condition=Q(repeats__isnull=False),
                name="an_access_review_is_repeated_once",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="access_reviews_newest"),
            models.Index(fields=["due_at"], condition=Q(state="open"), name="access_reviews_open"),
        ]

    def __str__(self) -> str:
        return f"access review {self.name}"

    @property
    def is_closed(self) -> bool:
        return self.state == AccessReviewState.CLOSED


class AccessReviewReviewer(models.Model):
    """A named reviewer of an access review."""

    review = models.ForeignKey(AccessReview, on_delete=models.PROTECT, related_name="reviewers")
    person = person_reference()
    name = models.CharField(max_length=200)

    class Meta:
        ordering = ("name", "id")
        constraints = [
            models.UniqueConstraint(fields=["review", "person"], name="one_reviewer_by_person")
        ]

    def __str__(self) -> str:
        return self.name


class AccessReviewRow(ConnectionFields, SnapshotFields):
    """One connection of the population, as its newest snapshot showed it at the start."""

    review = models.ForeignKey(AccessReview, on_delete=models.PROTECT, related_name="rows")
    # Counted from 1.
    position = models.PositiveIntegerField()
    # The digest of the snapshot, as for a deletion.
    digest = models.CharField(max_length=64)
    snapshot_at = models.DateTimeField()
    # The digest of what a decision covers.
    review_digest = models.CharField(max_length=64)
    # Who alone decides on it, if that was fixed. An auditor can name someone else.
    owner = optional_person_reference()
    # Set at the closing. For "keep" and "delete", the newest decision is the one that counts.
    closed_as = CodeField(max_length=8, choices=RowState, blank=True)

    class Meta:
        ordering = ("position",)
        constraints = [
            models.UniqueConstraint(
                fields=["review", "position"], name="one_access_review_row_at_a_position"
            ),
            models.UniqueConstraint(
                fields=["review", "site", "connection_id"],
                name="one_access_review_row_for_a_connection",
            ),
        ]
        indexes = [models.Index(fields=["site", "connection_id"], name="access_review_rows_of")]

    def __str__(self) -> str:
        return f"row {self.position} of {self.review_id}"


class AccessReviewDecision(models.Model):
    """A reviewer's decision about one row. The newest one counts. None is changed or removed.

    Its number orders decisions, because decisions of one review are made one after the other.
    """

    row = models.ForeignKey(AccessReviewRow, on_delete=models.PROTECT, related_name="decisions")
    decision = models.CharField(max_length=8, choices=ReviewDecision)
    reason = models.TextField()
    # The last day on which a decision to keep counts.
    keep_until = models.DateField(null=True)
    # What the decision covers, as `covered_values` returns it, and its digest.
    covered = models.JSONField()
    review_digest = models.CharField(max_length=64)
    # Whose decision it was then, if that was fixed. Someone else decides if they can't.
    owner = optional_person_reference()
    decided_at = models.DateTimeField()
    decided_by = person_reference()
    decided_by_name = models.CharField(max_length=200)
    # How many rows the person decided in one action.
    decided_together = models.PositiveIntegerField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(keep_until__isnull=True) | Q(decision="keep"),
                name="only_a_decision_to_keep_ends",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="a_decision_has_a_reason"),
        ]
        indexes = [
            models.Index(
                fields=["keep_until"],
                condition=Q(keep_until__isnull=False),
                name="decisions_that_end",
            )
        ]

    def __str__(self) -> str:
        return f"decision {self.pk} to {self.decision}"

    def has_ended(self, *, today: date) -> bool:
        """Whether its last day has passed, so that a person has to decide again."""
        return self.keep_until is not None and self.keep_until < today


def newest_decisions() -> QuerySet[AccessReviewDecision]:
    """The newest decision about each connection, from any access review.

    A decision to keep a connection stays its newest one after its last day, because nobody has
    decided to delete it since.
    """
    later = AccessReviewDecision.objects.filter(
        row__site=OuterRef("row__site"),
        row__connection_id=OuterRef("row__connection_id"),
        pk__gt=OuterRef("pk"),
    )
    return AccessReviewDecision.objects.filter(~Exists(later))


# Created once, because a page encodes thousands of small documents.
_encode = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode


def covered_values(
    *,
    source_org_id: str,
    sink_org_id: str,
    connection_types: Sequence[str],
    creator_id: str,
    creator_is_disabled: bool | None,
) -> dict[str, Any]:
    """What a decision covers. Names are left out, because renaming an org changes no access."""
    return {
        "source_org_id": source_org_id,
        "sink_org_id": sink_org_id,
        "connection_types": sorted(connection_types),
        "creator_id": creator_id,
        "creator_is_disabled": creator_is_disabled,
    }


def review_digest_of(*, site: str, connection_id: str, covered: dict[str, Any]) -> str:
    """SHA-256 of what a decision covers. A decision counts only while this stays the same."""
    return _digest(
        {"format": "access review row 1", "site": site, "connection_id": connection_id} | covered
    )


def closing_digest_of(
    *,
    rows: Sequence[tuple[int, str, int | None]],
    appeared: Sequence[dict[str, Any]],
    coverage: dict[str, Any],
    open_reason: str,
) -> str:
    """SHA-256 of the closing. `rows` are (position, final state, decision that counts)."""
    return _digest(
        {
            "format": "access review closing 1",
            "rows": rows,
            "appeared": appeared,
            "coverage": coverage,
            "open_reason": open_reason,
        }
    )


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_encode(document).encode()).hexdigest()
