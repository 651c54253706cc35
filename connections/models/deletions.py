"""Deletions of org connections, with their attempts and approvals."""

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q

from connections.models.batches import Batch, BatchRow
from connections.models.change_requests import (
    ApprovalFields,
    AttemptFields,
    ChangeRequest,
    State,
)
from connections.models.coded import CodeField
from connections.models.credentials import ApprovalPolicy, Credential
from connections.models.references import optional_person_reference, person_reference
from connections.verifier import labels

if TYPE_CHECKING:
    from connections.models.people import Person


class Outcome(models.TextChoices):
    """How a deletion ended. Empty while it is open."""

    DELETED = "deleted"  # Datadog returned 200, in time or late
    ALREADY_ABSENT = "already_absent", "Not found"  # gone before sending, or Datadog returned 404
    # Gone after an attempt without a usable response.
    GONE_UNATTRIBUTED = "gone_unattributed", "Gone, unproven"
    REFUSED = "refused", "Failed"  # Datadog returned 400, 401 or 403
    NOT_SENT = "not_sent", "Gave up"  # gave up: no attempt left, or Datadog refused each one
    STALE = "stale", "Changed"  # the connection changed after the request
    DECLINED = "declined"  # by an approver
    WITHDRAWN = "withdrawn"  # by the requester or an approver
    EXPIRED = "expired"  # not approved or confirmed in time
    UNRESOLVED = "unresolved"  # closed by a person; the result is unknown


# `Deletion.is_run_by_batch` as a query.
RUN_BY_BATCH = Q(batch__isnull=False, approval_round=1)
# After these outcomes, Datadog should no longer list the connection.
GONE_OUTCOMES = tuple(map(Outcome, labels.GONE_OUTCOMES))


class Deletion(ChangeRequest):
    """The deletion of one org connection, from request to outcome."""

    noun = "deletion"
    action = "connections.deletions.action.DELETE"
    title = wanted = "deletion of"
    no_effect = State.STILL_PRESENT
    outcomes = Outcome

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="deletions")
    # The bulk deletion that it belongs to, and its row there.
    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, null=True, related_name="deletions")
    batch_row = models.OneToOneField(
        BatchRow, on_delete=models.PROTECT, null=True, related_name="deletion"
    )
    # True if Org Admin requested it at the end of access, without a person. Otherwise null.
    automatic = models.BooleanField(null=True)
    # False if there was no snapshot to show to the requester.
    is_reviewed = models.BooleanField()
    outcome = CodeField(max_length=20, choices=Outcome, blank=True)

    # Set if a person used break glass because approvals were missing.
    break_glass_at = models.DateTimeField(null=True)
    break_glass_by = optional_person_reference()
    break_glass_by_name = models.CharField(max_length=200, blank=True)
    break_glass_reason = models.TextField(blank=True)
    # The round in which break glass replaces the approvals.
    break_glass_round = models.PositiveIntegerField(null=True)

    class Meta(ChangeRequest.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["site", "connection_id"],
                condition=~Q(state=State.SETTLED),
                name="one_open_deletion",
            ),
            models.CheckConstraint(
                condition=Q(state=State.SETTLED, settled_at__isnull=False) & ~Q(outcome="")
                | ~Q(state=State.SETTLED) & Q(outcome="", settled_at__isnull=True),
                name="settled_has_an_outcome",
            ),
            models.CheckConstraint(
                condition=Q(
                    break_glass_at__isnull=True, break_glass_by__isnull=True, break_glass_reason=""
                )
                | Q(break_glass_at__isnull=False, break_glass_by__isnull=False)
                & ~Q(break_glass_reason="")
                & ~Q(policy=ApprovalPolicy.NONE),
                name="break_glass_has_person_reason_time",
            ),
            models.CheckConstraint(
                condition=Q(batch__isnull=True, batch_row__isnull=True)
                | Q(batch__isnull=False, batch_row__isnull=False, break_glass_at__isnull=True),
                name="break_glass_never_for_a_batch",
            ),
        ]
        # Each continues with the order of the history, so that a filtered page is read from the
        # index. People combine some filters with an outcome: their indexes also hold it, because
        # reading a row for each entry takes ten times as long.
        indexes = [
            models.Index(fields=["-requested_at", "-id"], name="history"),
            models.Index(fields=["state", "-requested_at", "-id"], name="history_by_state"),
            models.Index(fields=["outcome", "-requested_at", "-id"], name="history_by_outcome"),
            models.Index(fields=["site", "-requested_at", "-id"], name="history_by_site"),
            models.Index(
                fields=["credential", "-requested_at", "-id", "outcome"],
                name="history_by_credential",
            ),
            models.Index(
                fields=["requested_by", "-requested_at", "-id", "outcome"],
                name="history_by_person",
            ),
            models.Index(fields=["ticket", "-requested_at", "-id"], name="history_by_ticket"),
            models.Index(
                fields=["source_org_id", "-requested_at", "-id", "outcome"],
                name="history_by_source",
            ),
            models.Index(
                fields=["sink_org_id", "-requested_at", "-id", "outcome"], name="history_by_sink"
            ),
            models.Index(fields=["connection_id", "-requested_at", "-id"], name="history_of_one"),
            models.Index(
                fields=["settled_at"],
                condition=Q(settled_at__isnull=False),
                name="deletions_ended",
            ),
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="deletions_due"
            ),
            # Open deletions are few among millions, and every page queries them. A query uses this
            # index only if it also filters by `settled_at=None`.
            models.Index(
                fields=["requested_at", "id"],
                condition=Q(settled_at__isnull=True),
                name="deletions_open",
            ),
            # There are few among millions, and the overview always queries them.
            models.Index(
                fields=["requested_at", "id"],
                condition=Q(contradicted_at__isnull=False),
                name="deletions_contradicted",
            ),
            models.Index(
                fields=["requested_at", "id"],
                condition=Q(break_glass_at__isnull=False),
                name="deletions_break_glass",
            ),
            models.Index(
                fields=["outcome", "requested_at", "id"],
                condition=Q(verified_at__isnull=True),
                name="deletions_unverified",
            ),
        ]

    def __str__(self) -> str:
        return f"deletion of {self.connection_id} on {self.site}"

    @property
    def description(self) -> str:
        """The connection as event sentences name it: orgs, ID and site."""
        if self.is_reviewed:
            return super().description
        return f"an unlisted connection ({self.connection_id} on {self.site})"

    @property
    def last_finding(self) -> str | None:
        """`gone_unattributed` if the last list that counted lacked the connection, "" if not."""
        if self.last_check_listed is None:
            return None
        return "" if self.last_check_listed else Outcome.GONE_UNATTRIBUTED

    @property
    def is_run_by_batch(self) -> bool:
        """Whether its approval, confirmation and sending are up to its bulk deletion.

        That is the case in the first approval round. A deletion whose outcome was unknown is in a
        later round, where people decide about it separately.
        """
        return self.batch_id is not None and self.approval_round == 1

    @property
    def break_glass_applies(self) -> bool:
        """Whether break glass replaces the approvals in the current round."""
        return self.break_glass_at is not None and self.break_glass_round == self.approval_round

    @property
    def lacks_late_approval(self) -> bool:
        """Whether break glass was used and the late approval is missing."""
        return self.break_glass_at is not None and not hasattr(self, "break_glass_review")

    @property
    def is_covered(self) -> bool:
        """Whether the approvals of the access that it ends count, so that no person confirmed it.

        They cover one attempt, like its own.
        """
        is_by_itself = self.confirmed_at is not None and self.confirmed_by_id is None
        return bool(self.automatic) and is_by_itself and self.approval_round == 1

    @property
    def needs_approval(self) -> bool:
        """Whether the next attempt needs approvals, whether or not they have been given."""
        is_replaced = self.break_glass_applies or self.is_covered
        return super().needs_approval and not is_replaced

    def can_be_confirmed_by(self, person: "Person | None") -> bool:
        """Whether it is up to this person: its requester or, while break glass applies, its user.

        What Org Admin requested is up to everyone but those who approved it.
        """
        if person is None:
            return False
        if self.requested_by_id is None and not self.is_decided_by(person):
            return True
        breaker = self.break_glass_by_id if self.break_glass_applies else None
        return person.pk in {self.requested_by_id, breaker}


class Attempt(AttemptFields):
    """One try at sending the DELETE."""

    parent = "deletion"
    method = "DELETE"

    deletion = models.ForeignKey(Deletion, on_delete=models.PROTECT, related_name="attempts")

    class Meta(AttemptFields.Meta):
        constraints = [
            models.UniqueConstraint(fields=["deletion", "number"], name="attempt_number"),
            models.UniqueConstraint(fields=["deletion", "epoch"], name="one_attempt_per_claim"),
        ]


class Approval(ApprovalFields):
    """Another person's decision about a deletion."""

    parent = "deletion"

    deletion = models.ForeignKey(Deletion, on_delete=models.PROTECT, related_name="approvals")

    class Meta(ApprovalFields.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["deletion", "approver", "round"], name="one_decision_each_round"
            ),
            models.CheckConstraint(
                condition=~Q(approver=F("requester")), name="nobody_approves_their_own"
            ),
            models.CheckConstraint(
                condition=~Q(decision="declined", reason=""), name="declining_has_a_reason"
            ),
        ]


class BreakGlassReview(models.Model):
    """The late approval of a deletion that used break glass, by another person."""

    deletion = models.OneToOneField(
        Deletion, on_delete=models.PROTECT, related_name="break_glass_review", primary_key=True
    )
    reviewer = person_reference()
    reviewer_name = models.CharField(max_length=200)
    # Copied so that a database constraint can refuse a review of one's own action.
    breaker = person_reference()
    requester = optional_person_reference()
    note = models.TextField()
    reviewed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(reviewer=F("breaker")) & ~Q(reviewer=F("requester")),
                name="nobody_reviews_their_own",
            ),
            models.CheckConstraint(condition=~Q(note=""), name="break_glass_review_has_a_note"),
        ]

    def __str__(self) -> str:
        return f"late approval by {self.reviewer_name}"
