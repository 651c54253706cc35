"""What other people decide about a deletion: yes or no before it, and a look back after it.

Triggers of the database (migration 0002) hold the copies to the deletion's own values, and refuse
to change or remove a decision.
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from connections.models.deletions import Deletion


class Approval(models.Model):
    """Another person's yes or no to exactly what will be sent."""

    class Decision(models.TextChoices):
        APPROVED = "approved"  # agrees to what the digest stands for
        DECLINED = "declined"  # ends the deletion or, after a sending, the round; with a reason

    deletion = models.ForeignKey(Deletion, on_delete=models.PROTECT, related_name="approvals")
    approver = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    approver_name = models.CharField(max_length=200)
    # A copy, so that the database itself can refuse self-approval.
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    # The deletion's round when it was decided; an approval counts in no other.
    round = models.PositiveIntegerField(db_default=1)
    decision = models.CharField(max_length=10, choices=Decision)
    digest = models.CharField(max_length=64)
    reason = models.TextField(blank=True)
    decided_at = models.DateTimeField()

    class Meta:
        ordering = ("decided_at", "id")
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

    def __str__(self) -> str:
        return f"{self.decision} by {self.approver_name}"

    def counts_for(self, deletion: Deletion) -> bool:
        """Whether it is one of the approvals that the deletion's next sending needs."""
        return (
            self.decision == self.Decision.APPROVED
            and self.round == deletion.approval_round
            and self.digest == deletion.approval_digest
        )


class BreakGlassReview(models.Model):
    """Another person's look back at a deletion for which glass was broken."""

    deletion = models.OneToOneField(
        Deletion, on_delete=models.PROTECT, related_name="break_glass_review", primary_key=True
    )
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    reviewer_name = models.CharField(max_length=200)
    # Copies, so that the database itself can refuse a look back at one's own act.
    breaker = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
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
        return f"glass review by {self.reviewer_name}"
