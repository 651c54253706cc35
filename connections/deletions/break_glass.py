"""Break glass: deleting without the missing approvals, and the late approval."""

import copy
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError
from django.db.models import QuerySet

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.change_requests import attempt_facts, exclusion, lifecycle, sending, states
from connections.change_requests.states import Confirm
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.typed_text import clean_text, confirmation_matches, find_text_problem
from connections.deletions import confirmations
from connections.models import BreakGlassReview, ChangeRequest, Deletion

# In characters: enough for a sentence, because the reason is in every notification.
MIN_REASON_LENGTH = 30


@dataclass(frozen=True, kw_only=True)
class ConfirmWithBreakGlass(Confirm):
    """The actor confirmed it without the missing approvals."""

    break_glass_reason: str

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        return super().columns(change_request=change_request, actor=actor) | {
            "break_glass_at": self.at,
            "break_glass_by": actor.person,
            "break_glass_by_name": actor.name,
            "break_glass_reason": self.break_glass_reason,
            "break_glass_round": change_request.approval_round,
        }


def break_glass(
    *, deletion: Deletion, actor: Actor, break_glass_reason: str, confirmation: str
) -> Deletion:
    """Confirm and send a deletion without the approvals that it still needs.

    The pre-send check runs as for every other deletion. Break glass covers one attempt, once per
    deletion: if its result is unknown, another attempt needs approval. A second click returns the
    deletion as the first one left it. Raises PermissionDenied, InvalidInputError for a short reason
    or a wrong confirmation, ConflictError when the deletion doesn't wait for approval or break
    glass was used for an earlier attempt, and UnavailableError; each with nothing sent.
    """
    permissions.require(permissions.can_break_glass(actor, deletion=deletion), "break glass")
    lifecycle.lapse_approvals(change_request=deletion, actor=actor)
    if deletion.break_glass_at and not states.is_awaiting_approval(deletion):
        return deletion
    _require_missing_approvals(deletion)
    break_glass_reason = break_glass_reason.strip()
    _require_valid_input(
        deletion, actor=actor, reason=break_glass_reason, confirmation=confirmation
    )
    # If anything else forbids sending it, that must show before break glass is used.
    as_if = copy.copy(deletion)
    as_if.break_glass_at, as_if.break_glass_by = clock.now(), actor.person
    as_if.break_glass_round = deletion.approval_round
    client = sending.require_sendable(change_request=as_if, confirmed_by=actor.person)
    used = audit.EventDraft(
        code=EventCode.DELETION_BREAK_GLASS_USED,
        sentence=audit.Sentence(
            "{actor} used break glass to delete {connection} without required approvals.",
            connection=deletion.description,
        ),
        details={
            "reason": break_glass_reason,
            "policy": deletion.policy,
            "approvals_needed": states.approvals_needed(deletion),
            "approvals_given": states.approvals_given(deletion).count(),
            "approval_round": deletion.approval_round,
        },
    )
    confirmed = audit.EventDraft(
        code=EventCode.DELETION_CONFIRMED,
        sentence=audit.Sentence(
            "{actor} confirmed deletion of {connection} with break glass.",
            connection=deletion.description,
        ),
        details={"approval_round": deletion.approval_round},
    )
    with audit.atomic():
        excluded = exclusion.lock_excluded([deletion], actor=actor)
        states.apply_or_refuse(
            deletion,
            transition=ConfirmWithBreakGlass(at=clock.now(), break_glass_reason=break_glass_reason),
            actor=actor,
            events=[used, confirmed],
        )
        exclusion.settle_excluded(excluded, by=[deletion], actor=actor)
    return sending.send(change_request=deletion, actor=actor, client=client)


def _require_missing_approvals(deletion: Deletion) -> None:
    if deletion.break_glass_at:
        raise ConflictError(
            "Break glass was already used for this deletion and covers one attempt. "
            f"{attempt_facts.not_sent_sentence_of(deletion)} Wait for approval, or close it and "
            "request another."
        )
    if not states.can_be_approved(deletion, now=clock.now()):
        raise OvertakenError(
            "This deletion is no longer waiting for approval, so break glass doesn't apply."
        )


def _require_valid_input(
    deletion: Deletion, *, actor: Actor, reason: str, confirmation: str
) -> None:
    fields: dict[str, str] = {}
    too_short = (
        f"Explain in at least {MIN_REASON_LENGTH} characters why this can't wait for approval."
    )
    is_short = len(reason) < MIN_REASON_LENGTH
    problem = too_short if is_short else find_text_problem(reason, missing=too_short)
    if problem:
        fields["break_glass_reason"] = problem
    expected = confirmations.confirmation_text(deletion, actor=actor)
    if not confirmation_matches(typed=confirmation, expected=expected):
        fields["confirmation"] = f"Type {expected}."
    if fields:
        raise InvalidInputError(fields)


def approve_late(*, deletion: Deletion, actor: Actor, note: str) -> Deletion:
    """Give the late approval of a use of break glass, with a note. This ends its alarm.

    Raises PermissionDenied (also for the people who used it or requested the deletion),
    InvalidInputError without a note, and ConflictError when there is nothing to approve or another
    person already did.
    """
    permissions.require(
        permissions.can_give_late_approval(actor, deletion=deletion),
        "give late approval",
    )
    person = actor.person
    if person is None or deletion.break_glass_by is None:
        raise ConflictError("Break glass wasn't used for this deletion.")
    note = clean_text(note, field="note", noun="note", missing="Enter your findings.")
    try:
        with audit.atomic():
            review = BreakGlassReview.objects.create(
                deletion=deletion,
                reviewer=person,
                reviewer_name=person.display_name,
                breaker=deletion.break_glass_by,
                requester=deletion.requested_by,
                note=note,
                reviewed_at=clock.now(),
            )
            audit.record(
                code=EventCode.DELETION_BREAK_GLASS_REVIEWED,
                actor=actor,
                subject=deletion,
                sentence=audit.Sentence(
                    "{actor} gave late approval for using break glass to delete {connection}.",
                    connection=deletion.description,
                ),
                details={"reason": note},
                rows={"break_glass_review": audit.row_of(review)},
            )
    except IntegrityError:
        raise OvertakenError("Another person already approved it.") from None
    return deletion


def find_lacking_late_approval(*, actor: Actor) -> QuerySet[Deletion]:
    """The visible deletions that used break glass and lack the late approval."""
    rows = Deletion.objects.filter(break_glass_at__isnull=False, break_glass_review=None)
    return visibility.visible(rows, actor=actor)
