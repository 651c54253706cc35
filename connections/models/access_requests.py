"""Access requests: asking for a connection or other data types, with attempts and approvals."""

from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q

from connections.core.causes import Cause
from connections.models.change_requests import (
    ApprovalFields,
    AttemptFields,
    ChangeRequest,
    State,
)
from connections.models.coded import CodeField
from connections.models.credentials import ApprovalPolicy, Credential
from connections.models.deletions import Deletion
from connections.models.references import optional_person_reference


class RequestKind(models.TextChoices):
    """What is asked for."""

    CREATE = "create"  # a connection of a pair that has none: POST
    CHANGE = "change", "Change data types"  # of a connection: PATCH
    EXTEND = "extend"  # a later end; nothing is sent to Datadog
    RESTORE = "restore"  # a connection that was deleted here: POST
    MOVE = "move"  # to a service account's key: DELETE and POST of the same pair


class MoveStep(models.TextChoices):
    """What a move sends next. It has the POST once its old connection is known to be deleted."""

    DELETE = "DELETE"
    POST = "POST"


class AccessState(models.TextChoices):
    """The state of an access request, as that of a deletion."""

    REQUESTED = "requested"
    APPROVED = "approved"
    SENDING = "sending"
    WAITING = "waiting", "Retrying"
    UNKNOWN = "unknown"
    NO_EFFECT = "no_effect", "No effect"  # two complete lists show that it had no effect
    SETTLED = "settled", "Closed"


class AccessOutcome(models.TextChoices):
    """How an access request ended. Empty while it is open."""

    CREATED = "created"  # Datadog returned 200 or 201, or lists show that our key created it
    # Datadog returned 200, or lists show the requested data types.
    CHANGED = "changed", "Data types changed"
    EXTENDED = "extended"  # the agreement has the later end
    # The pair had a connection before anything was sent.
    ALREADY_EXISTS = "already_exists", "Already connected"
    # It had the data types already.
    ALREADY_AS_REQUESTED = "already_as_requested", "Already as requested"
    # The pair has a connection after an unknown result, but our key didn't create it.
    EXISTS_UNATTRIBUTED = "exists_unattributed", "Connected, unproven"
    # It has other data types than before and than requested, after an unknown result.
    CHANGED_ELSEWHERE = "changed_elsewhere", "Changed elsewhere"
    GONE = "gone"  # the connection that was to be changed is gone
    REFUSED = "refused", "Failed"
    NOT_SENT = "not_sent", "Not sent"
    STALE = "stale", "Outdated"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    UNRESOLVED = "unresolved"


def outcome_label(outcome: str, *, kind: str) -> str:
    """What an outcome of this kind of access request is called. A move doesn't just create."""
    is_moved = kind == RequestKind.MOVE and outcome == AccessOutcome.CREATED
    return "Moved" if is_moved else AccessOutcome(outcome).label


# After these, the pair has the requested access, and its agreement is set.
COMPLETED = (
    AccessOutcome.CREATED,
    AccessOutcome.CHANGED,
    AccessOutcome.EXTENDED,
    AccessOutcome.EXISTS_UNATTRIBUTED,
    AccessOutcome.ALREADY_EXISTS,
)

# Of these, the ones whose connection was reviewed or created here, so their end can be automatic.
SEEN = (AccessOutcome.CREATED, AccessOutcome.CHANGED, AccessOutcome.EXTENDED)

# It was completed, and what it gave was approved. One that an approver's check ends, because the
# pair is already connected, was not.
GAVE_ACCESS = Q(outcome__in=COMPLETED) & (
    Q(policy=ApprovalPolicy.NONE) | Q(approved_at__isnull=False) | Q(epoch__gt=0)
)


class AccessRequest(ChangeRequest):
    """A request for access of one pair of orgs, from request to outcome.

    The snapshot fields have the connection as the requester saw it; only the orgs if there was
    none. `connection_id` is the one that was seen or, once it was created, the new one.
    """

    noun = "access_request"
    title = "access request for"
    wanted = "access for"
    no_effect = AccessState.NO_EFFECT
    outcomes = AccessOutcome
    event_details = ("state", "outcome", "kind")

    kind = CodeField(max_length=8, choices=RequestKind)
    credential = models.ForeignKey(
        Credential, on_delete=models.PROTECT, related_name="access_requests"
    )
    connection_id = models.UUIDField(null=True)  # type: ignore[assignment]
    # The data types that it will have, sorted. Those that it has are in `connection_types`.
    types_after = models.JSONField()
    owner = optional_person_reference()
    owner_text = models.CharField(max_length=200, blank=True)
    purpose = models.TextField()
    # The last day, in UTC, after which Org Admin deletes the connection: the one that it names, or
    # an approved one that it keeps. Null without one, and if it keeps an end that was set by hand.
    ends_on = models.DateField(null=True)
    # The fields of the agreement that it doesn't name, so they stay as agreed: owner, purpose,
    # ticket, ends_on. What it has of them is a copy.
    as_agreed = models.JSONField(default=list, db_default=[])
    restored_from = models.ForeignKey(
        Deletion, on_delete=models.PROTECT, null=True, related_name="restored_by"
    )
    # Of a move: its step, the connection that it moves, and since when that is known to be deleted.
    step = models.CharField(max_length=6, choices=MoveStep, blank=True, default="", db_default="")
    moved_from = models.UUIDField(null=True)
    removed_at = models.DateTimeField(null=True)
    # When a worker looks at its end next. Null without an end, and while nothing but people, or
    # another connection, can change what happens.
    end_due_at = models.DateTimeField(null=True)
    # Made on the day after its end.
    deletion = models.ForeignKey(
        Deletion, on_delete=models.PROTECT, null=True, related_name="ended_requests"
    )

    state = CodeField(max_length=16, choices=AccessState, default=AccessState.REQUESTED)
    outcome = CodeField(max_length=20, choices=AccessOutcome, blank=True)
    # What the last complete list would end an unknown result as, or `no_effect`.
    last_check_outcome = models.CharField(max_length=20, blank=True)

    ACTIONS: ClassVar[dict[str, str]] = {
        RequestKind.CREATE: "connections.access_requests.actions.CREATE",
        RequestKind.CHANGE: "connections.access_requests.actions.CHANGE",
        RequestKind.EXTEND: "connections.access_requests.actions.EXTEND",
        RequestKind.RESTORE: "connections.access_requests.actions.CREATE",
        MoveStep.DELETE: "connections.access_requests.moving.DELETE",
        MoveStep.POST: "connections.access_requests.moving.POST",
    }

    class Meta(ChangeRequest.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["site", "source_org_id", "sink_org_id"],
                condition=~Q(state=State.SETTLED),
                name="one_open_access_request",
            ),
            models.CheckConstraint(
                condition=Q(state=State.SETTLED, settled_at__isnull=False) & ~Q(outcome="")
                | ~Q(state=State.SETTLED) & Q(outcome="", settled_at__isnull=True),
                name="settled_access_request_has_an_outcome",
            ),
            models.CheckConstraint(
                condition=Q(owner__isnull=False) | ~Q(owner_text=""),
                name="an_access_request_has_an_owner",
            ),
            models.CheckConstraint(
                condition=~Q(purpose=""), name="an_access_request_has_a_purpose"
            ),
        ]
        indexes = [
            models.Index(fields=["-requested_at", "-id"], name="access_requests"),
            models.Index(
                fields=["site", "source_org_id", "sink_org_id", "-requested_at"],
                name="access_requests_of_a_pair",
            ),
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="access_requests_due"
            ),
            models.Index(
                fields=["end_due_at"],
                condition=Q(end_due_at__isnull=False),
                name="access_ends_due",
            ),
        ]

    def __str__(self) -> str:
        return f"access request for {self.pair} on {self.site}"

    def get_outcome_display(self) -> str:  # type: ignore[no-redef]
        """What its outcome is called; "" while it is open."""
        return outcome_label(self.outcome, kind=self.kind) if self.outcome else ""

    @property
    def action(self) -> str:
        """The import path of the action of its kind or, to move a connection, of its step."""
        return self.ACTIONS[self.step or self.kind]

    @property
    def step_attempts(self) -> "models.QuerySet[AttemptFields]":
        return self.attempts.filter(method=self.step) if self.step else self.attempts.all()

    @property
    def round_ends_in(self) -> str:
        """Moving a connection is approved as a whole, so its approvals cover the POST too."""
        return AccessState.NO_EFFECT if self.step else AccessState.UNKNOWN

    @property
    def sending_window_at(self) -> datetime | None:
        return max(filter(None, [self.confirmed_at, self.removed_at]), default=None)

    @property
    def awaits_outcome(self) -> bool:
        """Also while the POST of a move can be confirmed again, lists can show that it worked."""
        is_confirmable = self.removed_at is not None and self.state == AccessState.APPROVED
        return super().awaits_outcome or (is_confirmable and self.has_ambiguous_attempt)

    @property
    def interrupts_access(self) -> bool:
        """Whether the connection that it moves is deleted, and no other is known to exist."""
        is_connected = self.outcome in COMPLETED or self.outcome == AccessOutcome.STALE
        is_listed = self.reason_code == Cause.STILL_LISTED
        return self.removed_at is not None and not is_connected and not is_listed

    @property
    def reason_code(self) -> str:
        """Why it is in its state: why its check failed, or a move ended without a connection."""
        return str(self.cause_details.get("cause") or self.cause)

    @property
    def is_moving(self) -> bool:
        """Whether it is a move that has begun to send and isn't over."""
        is_begun = self.state in {AccessState.SENDING, AccessState.WAITING, AccessState.UNKNOWN}
        is_confirmable = self.state == AccessState.APPROVED and self.step == MoveStep.POST
        return bool(self.step) and (is_begun or is_confirmable)

    @property
    def reported_cause(self) -> str:
        if self.is_moving:
            return Cause.MOVE_CREATING if self.step == MoveStep.POST else Cause.MOVE_DELETING
        return self.cause

    @property
    def description(self) -> str:
        """The pair as event sentences name it: orgs and site."""
        return f"{self.pair} on {self.site}"

    @property
    def last_finding(self) -> str | None:
        """What the last list that counted would end an unknown result as, "" for no effect."""
        if not self.last_check_outcome:
            return None
        return "" if self.last_check_outcome == self.no_effect else self.last_check_outcome

    no_check_columns: ClassVar[dict[str, Any]] = {
        "last_check_listed": None,
        "last_check_outcome": "",
    }

    @classmethod
    def check_columns(cls, *, is_listed: bool, finding: str) -> dict[str, Any]:
        """The columns of a check besides its time."""
        columns = super().check_columns(is_listed=is_listed, finding=finding)
        return columns | {"last_check_outcome": finding or cls.no_effect}


class AccessRequestAttempt(AttemptFields):
    """One try at sending the POST or PATCH or, to move a connection, the DELETE."""

    parent = "access_request"

    access_request = models.ForeignKey(
        AccessRequest, on_delete=models.PROTECT, related_name="attempts"
    )
    method = models.CharField(max_length=6)
    verdict = models.CharField(max_length=20, blank=True)

    class Meta(AttemptFields.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["access_request", "number"], name="access_request_attempt_number"
            ),
            models.UniqueConstraint(
                fields=["access_request", "epoch"], name="one_access_request_attempt_per_claim"
            ),
        ]


class AccessRequestApproval(ApprovalFields):
    """Another person's decision about an access request."""

    parent = "access_request"

    access_request = models.ForeignKey(
        AccessRequest, on_delete=models.PROTECT, related_name="approvals"
    )

    class Meta(ApprovalFields.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["access_request", "approver", "round"],
                name="one_decision_about_access_each_round",
            ),
            models.CheckConstraint(
                condition=~Q(approver=F("requester")), name="nobody_approves_their_own_access"
            ),
            models.CheckConstraint(
                condition=~Q(decision="declined", reason=""),
                name="declining_access_has_a_reason",
            ),
        ]
