"""A deletion: our request to delete one org connection, with its whole life."""

import hashlib
import json
import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections.datadog.responses import AttemptResult
from connections.models.credentials import ApprovalPolicy, Credential
from connections.models.org_connections import SnapshotFields

if TYPE_CHECKING:
    from connections.models.people import Person
from django.db.models import F


class State(models.TextChoices):
    """Where a deletion is in its life. All but SETTLED are open."""

    REQUESTED = "requested"  # asked for; nothing was sent
    APPROVED = "approved"  # enough other people approved; nothing was sent
    SENDING = "sending"  # claimed by one process, which is sending it
    WAITING = "waiting"  # not carried out so far; sent again by itself when due
    UNKNOWN = "unknown"  # it may have been carried out; never sent again by itself
    STILL_PRESENT = "still_present"  # two listings agree that it had no effect
    SETTLED = "settled"  # has an outcome; nothing leaves this state


class Outcome(models.TextChoices):
    """What became of it in the world. Empty while open."""

    DELETED = "deleted"  # Datadog answered 200, in time or late
    ALREADY_ABSENT = "already_absent"  # it was gone before we sent, or Datadog answered 404
    GONE_UNATTRIBUTED = "gone_unattributed"  # gone after an attempt without a usable response
    REFUSED = "refused"  # Datadog answered 400, 401 or 403; never refused by us
    NOT_SENT = "not_sent"  # gave up; nothing left, or Datadog refused whatever did
    STALE = "stale"  # it changed between the review and the sending
    DECLINED = "declined"  # an approver said no
    WITHDRAWN = "withdrawn"  # the requester or an approver took it back
    EXPIRED = "expired"  # nobody approved or confirmed it in time
    UNRESOLVED = "unresolved"  # closed by a person without knowing


OPEN_STATES = (
    State.REQUESTED,
    State.APPROVED,
    State.SENDING,
    State.WAITING,
    State.UNKNOWN,
    State.STILL_PRESENT,
)
# Outcomes after which Datadog should not list the connection any more.
GONE_OUTCOMES = (Outcome.DELETED, Outcome.ALREADY_ABSENT, Outcome.GONE_UNATTRIBUTED)


def approval_digest_of(*, digest: str, reason: str, ticket: str) -> str:
    """SHA-256 over what an approver agrees to: the snapshot's digest, the reason and the ticket."""
    shown = ["approval, version 1", digest, reason, ticket]
    return hashlib.sha256(json.dumps(shown, ensure_ascii=True).encode()).hexdigest()


class Deletion(SnapshotFields):
    """One request to delete one org connection, and what became of it.

    The snapshot fields are what the person saw who asked; names are frozen here so that the
    record stays readable whatever happens to the rows it points to.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Made by the review page, so that the same form posted twice is one deletion.
    request_id = models.UUIDField(unique=True)

    site = models.CharField(max_length=100)
    connection_id = models.UUIDField()
    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="deletions")
    credential_name = models.CharField(max_length=100)
    credential_fingerprint = models.CharField(max_length=12)

    # False when nobody could be shown what the connection is.
    is_reviewed = models.BooleanField()
    digest = models.CharField(max_length=64)
    snapshot_at = models.DateTimeField(null=True)
    reason = models.TextField()
    ticket = models.CharField(max_length=200, blank=True)
    policy = models.CharField(max_length=8, choices=ApprovalPolicy)
    # What every approval of it must bear; the database holds both to it.
    approval_digest = models.CharField(max_length=64)

    state = models.CharField(max_length=16, choices=State, default=State.REQUESTED)
    outcome = models.CharField(max_length=20, choices=Outcome, blank=True)
    cause = models.CharField(max_length=40, blank=True)
    # What the last reading before sending found, in Datadog's words; shown with the cause.
    cause_details = models.JSONField(default=dict)
    # Raised by every claim; an answer of an older epoch changes no state.
    epoch = models.PositiveIntegerField(default=0)
    # When the worker should look at it next; empty when there is nothing to do by itself.
    due_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    requested_at = models.DateTimeField()
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    requested_by_name = models.CharField(max_length=200)
    confirmed_at = models.DateTimeField(null=True)
    confirmed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    confirmed_by_name = models.CharField(max_length=200, blank=True)
    approved_at = models.DateTimeField(null=True)
    # Approvals count for one round: the confirmed sending they were given for, with its automatic
    # retries. A sending whose result is unknown ends the round, so that another one needs
    # approval again.
    approval_round = models.PositiveIntegerField(db_default=1)
    # Set where somebody did without the approvals that were missing.
    break_glass_at = models.DateTimeField(null=True)
    break_glass_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    break_glass_by_name = models.CharField(max_length=200, blank=True)
    break_glass_reason = models.TextField(blank=True)
    # The one round for which breaking glass replaces the approvals.
    break_glass_round = models.PositiveIntegerField(null=True)
    sending_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    settled_by_name = models.CharField(max_length=200, blank=True)
    settled_reason = models.TextField(blank=True)

    # What the history's text search looks in, folded: fixed when the deletion is asked for,
    # but for comments, which are added at its end.
    search_text = models.TextField()

    # The last complete listing that counts, and whether it showed the connection.
    last_checked_at = models.DateTimeField(null=True)
    last_check_listed = models.BooleanField(null=True)
    verified_at = models.DateTimeField(null=True)
    contradicted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-requested_at", "-id")
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
        ]
        # Each ends in the order of the history, so that a filtered page is read off the index.
        indexes = [
            models.Index(fields=["-requested_at", "-id"], name="history"),
            models.Index(fields=["state", "-requested_at", "-id"], name="history_by_state"),
            models.Index(fields=["outcome", "-requested_at", "-id"], name="history_by_outcome"),
            models.Index(fields=["site", "-requested_at", "-id"], name="history_by_site"),
            models.Index(
                fields=["credential", "-requested_at", "-id"], name="history_by_credential"
            ),
            models.Index(fields=["requested_by", "-requested_at", "-id"], name="history_by_person"),
            models.Index(fields=["ticket", "-requested_at", "-id"], name="history_by_ticket"),
            models.Index(
                fields=["source_org_id", "-requested_at", "-id"], name="history_by_source"
            ),
            models.Index(fields=["sink_org_id", "-requested_at", "-id"], name="history_by_sink"),
            models.Index(
                fields=["source_org_name", "-requested_at", "-id"], name="history_by_source_name"
            ),
            models.Index(
                fields=["sink_org_name", "-requested_at", "-id"], name="history_by_sink_name"
            ),
            models.Index(fields=["connection_id", "-requested_at", "-id"], name="history_of_one"),
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="deletions_due"
            ),
            # The open ones, few among millions: every page asks for some of them. A query uses it
            # by saying `settled_at=None` beside the state.
            models.Index(
                fields=["requested_at", "id"],
                condition=Q(settled_at__isnull=True),
                name="deletions_open",
            ),
            # Few among millions, and the overview asks for them each time.
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
        names = f"{self.source_org_name or '?'} → {self.sink_org_name or '?'}"
        subject = names if self.is_reviewed else "a connection nobody could review"
        return f"{subject} ({self.connection_id} on {self.site})"

    @property
    def is_settled(self) -> bool:
        return self.state == State.SETTLED

    @property
    def has_ambiguous_attempt(self) -> bool:
        """Whether some sending may have been carried out without our knowing."""
        return self.attempts.filter(AMBIGUOUS).exists()

    @property
    def has_late_success(self) -> bool:
        """Whether Datadog returned 200 to an attempt after Org Admin stopped waiting for it."""
        return self.attempts.filter(is_late=True, verdict=AttemptResult.DELETED).exists()

    @property
    def break_glass_applies(self) -> bool:
        """Whether breaking glass replaces the approvals of the current round."""
        return self.break_glass_at is not None and self.break_glass_round == self.approval_round

    @property
    def needs_approval(self) -> bool:
        """Whether the next sending needs other people's approvals, given or not."""
        return self.policy != ApprovalPolicy.NONE and not self.break_glass_applies

    @property
    def current_approvals(self) -> "list[Approval]":
        """The approvals of the current round, oldest first; uses what was prefetched."""
        return [one for one in self.approvals.all() if one.counts_for(self)]

    def is_decided_by(self, person: "Person | None") -> bool:
        """Whether this person decided in the current round; uses what was prefetched."""
        return person is not None and any(
            one.approver_id == person.pk and one.round == self.approval_round
            for one in self.approvals.all()
        )

    @property
    def confirming_ids(self) -> "set[uuid.UUID]":
        """Who confirms it: the requester and, while break glass applies, whoever broke it."""
        breaker = self.break_glass_by_id if self.break_glass_applies else None
        return {pk for pk in (self.requested_by_id, breaker) if pk is not None}

    @property
    def lacks_approvals(self) -> bool:
        """Whether more people must approve before the next sending."""
        if not self.needs_approval:
            return False
        return len(self.current_approvals) < ApprovalPolicy(self.policy).approvals_needed


class Attempt(models.Model):
    """One sending of the DELETE, written before it leaves, with what came back."""

    deletion = models.ForeignKey(Deletion, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    epoch = models.PositiveIntegerField()
    # The round whose approvals it was sent under.
    approval_round = models.PositiveIntegerField(db_default=1)
    credential_name = models.CharField(max_length=100)
    credential_fingerprint = models.CharField(max_length=12)
    # Whether the connection was read again, and found unchanged, just before.
    was_rechecked = models.BooleanField()
    claimed_at = models.DateTimeField()

    # Empty until an answer, or the lack of one, is recorded: connections.datadog.Verdict.
    verdict = models.CharField(max_length=12, blank=True)
    cause = models.CharField(max_length=40, blank=True)
    answered_at = models.DateTimeField(null=True)
    # True when the answer came after the deletion had moved on. It changes no state itself; a 200
    # lets the next complete listing without the connection settle it as deleted.
    is_late = models.BooleanField(default=False)
    duration_ms = models.PositiveIntegerField(null=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=bytes)
    body_sha256 = models.CharField(max_length=64, blank=True)
    body_is_complete = models.BooleanField(null=True)
    errors = models.JSONField(default=list)

    class Meta:
        ordering = ("number",)
        constraints = [
            models.UniqueConstraint(fields=["deletion", "number"], name="attempt_number"),
            models.UniqueConstraint(fields=["deletion", "epoch"], name="one_attempt_per_claim"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.deletion_id}"


# No answer recorded, an answer that proves nothing, or one that came too late to be believed.
AMBIGUOUS = Q(verdict__in=["", "ambiguous"]) | Q(is_late=True)


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
