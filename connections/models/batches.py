"""Bulk deletions: a frozen plan of connections, whose rows become ordinary deletions."""

import hashlib
import json
import uuid
from collections.abc import Iterable
from datetime import datetime

from django.db import models
from django.db.models import Q

from connections.models.access_reviews import AccessReview
from connections.models.credentials import ApprovalPolicy, Credential
from connections.models.org_connections import SnapshotFields
from connections.models.references import optional_person_reference


class BatchState(models.TextChoices):
    """The state of a bulk deletion."""

    DRAFT = "draft"  # its plan can be changed, and no row is a deletion yet
    REQUESTED = "requested"  # every row is a deletion; it waits for approval
    APPROVED = "approved"  # enough other people approved the plan; it waits for confirmation
    DECLINED = "declined"  # by an approver; nothing was sent
    RUNNING = "running"  # confirmed; the worker sends its rows
    PAUSED = "paused"  # by a person or after problems; no row is sent
    FINISHED = "finished"  # no row waits to be sent; one with an unknown outcome can still be open
    CANCELLED = "cancelled"  # by a person; rows that were not sent are withdrawn
    EXPIRED = "expired"  # not requested, approved or confirmed in time; nothing was sent


# A bulk deletion never leaves one of these states.
ENDED_STATES = (
    BatchState.DECLINED,
    BatchState.FINISHED,
    BatchState.CANCELLED,
    BatchState.EXPIRED,
)


# The rows of a plan that become, or became, deletions.
SENDABLE = Q(problem="", removed_at=None)


class BatchOrigin(models.TextChoices):
    """What the plan was made from."""

    SELECTION = "selection"  # connections that a person or a plan file named
    FILTER = "filter"  # all connections that matched a filter of the inventory
    ORG = "org"  # all connections of one org, to remove the org
    ACCESS_REVIEW = "access_review"  # the connections that an access review decided to delete


class RowProblem(models.TextChoices):
    """Why a row can't be deleted. Such a row never becomes a deletion."""

    MALFORMED_ID = "malformed_id"  # the text is not a site and a connection ID
    DUPLICATE = "duplicate"  # an earlier row has the same connection
    # No sync that the person can see lists it. Hidden and unknown connections look the same.
    NOT_VISIBLE = "not_visible"
    PROTECTED = "protected"
    ALREADY_BEING_DELETED = "already_being_deleted"  # another deletion of it is open
    NO_CREDENTIAL = "no_credential"  # no credential that the person can use lists and can delete it
    CHANGED = "changed"  # Datadog now lists something different than when the plan was made
    KEPT = "kept"  # an access review decided to keep it (plans from access reviews only)


class Batch(models.Model):
    """A bulk deletion, from draft to end.

    Names of people are copied in addition to the reference, as in a deletion.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=16, choices=BatchState, default=BatchState.DRAFT)
    origin = models.CharField(max_length=16, choices=BatchOrigin)
    # The query string of the inventory's filter.
    filter_text = models.TextField(blank=True)
    # The org to remove. Another org can have the same name.
    site = models.CharField(max_length=100, blank=True)
    org_id = models.CharField(max_length=64, blank=True)
    org_name = models.CharField(max_length=1000, blank=True)
    access_review = models.ForeignKey(
        AccessReview, on_delete=models.PROTECT, null=True, related_name="batches"
    )

    # SHA-256 of the rows that were not removed, with their credentials and problems.
    digest = models.CharField(max_length=64)
    # The strictest policy of all credentials involved. Every row has it too.
    policy = models.CharField(max_length=8, choices=ApprovalPolicy)
    reason = models.TextField(blank=True)
    ticket = models.CharField(max_length=200, blank=True)
    stop_at_first_problem = models.BooleanField(default=False)
    # What an approver approves: the digest, the reason, the ticket and the choice above.
    approval_digest = models.CharField(max_length=64, blank=True)

    # When a draft, a request or the time to confirm expires. Empty once it is confirmed.
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    created_by = optional_person_reference()
    created_by_name = models.CharField(max_length=200)
    requested_at = models.DateTimeField(null=True)
    requested_by = optional_person_reference()
    requested_by_name = models.CharField(max_length=200, blank=True)
    approved_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    confirmed_by = optional_person_reference()
    confirmed_by_name = models.CharField(max_length=200, blank=True)
    # When it was last paused and last resumed.
    paused_at = models.DateTimeField(null=True)
    paused_by_name = models.CharField(max_length=200, blank=True)
    # If Org Admin paused it, a connections.core.causes.Cause and the credential's name.
    pause_cause = models.CharField(max_length=40, blank=True)
    pause_credential_name = models.CharField(max_length=100, blank=True)
    resumed_at = models.DateTimeField(null=True)
    # When it reached one of ENDED_STATES, who ended it, and the reason if it was declined.
    ended_at = models.DateTimeField(null=True)
    ended_by_name = models.CharField(max_length=200, blank=True)
    ended_reason = models.TextField(blank=True)
    # For each credential, by its ID, how many of its last results in a row were problems.
    problems_in_a_row = models.JSONField(default=dict)

    # What `end` sets, except `expires_at`.
    END_COLUMNS = ("state", "ended_at", "ended_by_name", "ended_reason")

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    state__in=[state.value for state in ENDED_STATES], ended_at__isnull=False
                )
                | ~Q(state__in=[state.value for state in ENDED_STATES]) & Q(ended_at__isnull=True),
                name="ended_batch_has_a_time",
            )
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="batches_newest"),
            # Few are open, and the worker queries them all the time.
            models.Index(
                fields=["created_at"], condition=Q(ended_at__isnull=True), name="batches_open"
            ),
        ]

    def __str__(self) -> str:
        return f"bulk deletion {str(self.id)[-8:]}"

    @property
    def is_from_review(self) -> bool:
        """Whether it deletes what an access review decided to delete."""
        return self.access_review_id is not None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED_STATES

    @property
    def sending_credential_ids(self) -> set[uuid.UUID]:
        """The credentials that send its rows."""
        rows = self.rows.filter(SENDABLE).order_by().values_list("credential", flat=True)
        return {pk for pk in rows.distinct() if pk is not None}

    @property
    def needs_approval(self) -> bool:
        return self.policy != ApprovalPolicy.NONE

    def end(self, *, state: BatchState, at: datetime, by_name: str, reason: str = "") -> None:
        """Store that it ended in this state."""
        self.state, self.expires_at = state, None
        self.ended_at, self.ended_by_name, self.ended_reason = at, by_name, reason
        self.save()


class BatchRow(SnapshotFields):
    """One connection of a plan, as the newest snapshot showed it when the plan was made."""

    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, related_name="rows")
    # Counted from 1 in the order of the request, including the lines of a file.
    position = models.PositiveIntegerField()
    # "<site>/<connection ID>" as the person requested it.
    text = models.CharField(max_length=200)
    site = models.CharField(max_length=100, blank=True)
    # Empty if the ID is malformed.
    connection_id = models.UUIDField(null=True)
    # From the snapshot. Both are empty without one.
    digest = models.CharField(max_length=64, blank=True)
    snapshot_at = models.DateTimeField(null=True)
    # The credential that sends it or, if the row has a problem, the one that the snapshot comes
    # from. People who can see that credential can see the row.
    credential = models.ForeignKey(
        Credential, on_delete=models.PROTECT, null=True, related_name="batch_rows"
    )
    problem = models.CharField(max_length=24, choices=RowProblem, blank=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("position",)
        constraints = [
            models.UniqueConstraint(
                fields=["batch", "position"], name="one_batch_row_at_a_position"
            ),
            models.UniqueConstraint(
                fields=["batch", "site", "connection_id"],
                condition=Q(connection_id__isnull=False) & ~Q(problem="duplicate"),
                name="one_batch_row_for_a_connection",
            ),
            models.CheckConstraint(
                condition=~Q(problem="")
                | Q(connection_id__isnull=False, credential__isnull=False) & ~Q(digest=""),
                name="batch_row_without_problem_can_be_sent",
            ),
        ]

    def __str__(self) -> str:
        return f"row {self.position} of {self.batch_id}"

    @property
    def reference(self) -> str:
        """The connection as forms name it: "<site>/<connection ID>", or the invalid text."""
        return f"{self.site}/{self.connection_id}" if self.connection_id else self.text


def batch_digest_of(batch: Batch, *, rows: Iterable[BatchRow]) -> str:
    """SHA-256 of the policy and these rows: the plan's rows that were not removed, in order."""
    content = [
        "bulk deletion, version 1",
        batch.policy,
        [
            [row.position, row.reference, row.digest, str(row.credential_id or ""), row.problem]
            for row in rows
        ],
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def batch_approval_digest_of(batch: Batch) -> str:
    """SHA-256 of what an approver approves: the plan, the reason, the ticket and when to stop."""
    content = [
        "bulk deletion approval, version 1",
        *(batch.digest, batch.reason, batch.ticket),
        batch.stop_at_first_problem,
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()
