"""A second person's yes or no to exactly what will be sent. Approving sends nothing."""

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Q

from connections import clock, policies
from connections.actors import Actor
from connections.models import Approval, Deletion, Outcome, Person, Role, State
from connections.services import audit, erasable, transitions
from connections.services.errors import ConflictError, InvalidInputError, has_words
from connections.services.transitions import Next, Note, describe


def approve_deletion(*, deletion: Deletion, actor: Actor, digest: str) -> Deletion:
    """Agree to what the digest stands for; when enough people have, the requester may confirm.

    `digest` is the one the approver's page showed. Raises PermissionDenied (one's own included)
    and ConflictError when it no longer waits for approval or shows something else.
    """
    _check_may_decide(deletion=deletion, actor=actor)
    _check_awaits_approval(deletion)
    if digest != deletion.approval_digest:
        raise ConflictError("What you were shown is not what would be sent. Look again.")
    with audit.act():
        # One at a time: of two approvers at once the second must count the first.
        Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
        _decide(deletion=deletion, actor=actor, decision=Approval.Decision.APPROVED)
        given = deletion.approvals.filter(decision=Approval.Decision.APPROVED).count()
        missing = transitions.approvals_needed(deletion) - given
        now = clock.now()
        window = {
            "approved_at": now,
            "expires_at": now + transitions.CONFIRMING_WINDOW,
            "due_at": now + transitions.CONFIRMING_WINDOW,
        }
        who = erasable.name(actor)
        sentence = f"{who} approved the deletion of {describe(deletion)}. Nothing was sent."
        moved = transitions.move(
            deletion=deletion,
            actor=actor,
            to=Next(state=State.REQUESTED if missing > 0 else State.APPROVED),
            notes=[
                Note(
                    code=audit.Code.DELETION_APPROVED,
                    sentence=sentence,
                    details={"digest": digest, "missing": max(0, missing)},
                )
            ],
            **({} if missing > 0 else window),
        )
        if not moved:
            # Raised inside the transaction, so that the approval itself is undone too.
            raise ConflictError("It has just moved on. Look at its state.")
    return deletion


def who_can_approve(*, deletion: Deletion) -> list[str]:
    """Names of the people who could approve this one now and have not, in order."""
    may = Q(groups__name=Role.APPROVER) | Q(is_superuser=True)
    undecided = Person.objects.filter(may, is_active=True).exclude(
        pk__in=deletion.approvals.values("approver")
    )
    if deletion.requested_by_id:
        undecided = undecided.exclude(pk=deletion.requested_by_id)
    return [person.display_name for person in undecided.distinct().order_by("username")]


def decline_deletion(*, deletion: Deletion, actor: Actor, reason: str) -> Deletion:
    """Say no, with a reason, which ends the deletion.

    Raises PermissionDenied, InvalidInputError without a reason, ConflictError when too late.
    """
    _check_may_decide(deletion=deletion, actor=actor)
    if not has_words(reason):
        raise InvalidInputError({"reason": "Say why you decline it."})
    _check_awaits_approval(deletion)
    with audit.act():
        _decide(
            deletion=deletion,
            actor=actor,
            decision=Approval.Decision.DECLINED,
            reason=reason.strip(),
        )
        moved = transitions.move(
            deletion=deletion,
            actor=actor,
            to=Next(state=State.SETTLED, outcome=Outcome.DECLINED),
            notes=[
                Note(
                    code=audit.Code.DELETION_DECLINED,
                    sentence=f"{erasable.name(actor)} declined the deletion of "
                    f"{describe(deletion)}.",
                    details={"reason": reason.strip()},
                )
            ],
            settled_reason=reason.strip(),
        )
        if not moved:
            raise ConflictError("It has just moved on. Look at its state.")
    return deletion


def _check_may_decide(*, deletion: Deletion, actor: Actor) -> None:
    if actor.person and deletion.requested_by_id == actor.person.pk:
        raise PermissionDenied("You asked for this; someone else must approve.")
    policies.require(
        policies.can_approve(actor, deletion=deletion), "approve or decline this deletion"
    )


def _check_awaits_approval(deletion: Deletion) -> None:
    expired = deletion.expires_at is not None and clock.now() >= deletion.expires_at
    if deletion.state != State.REQUESTED or not transitions.approvals_needed(deletion) or expired:
        raise ConflictError("It does not wait for approval any more. Look at its state.")


def _decide(
    *, deletion: Deletion, actor: Actor, decision: Approval.Decision, reason: str = ""
) -> None:
    person = actor.person
    if person is None:
        raise ConflictError("Only a person can approve or decline.")
    try:
        with audit.act():
            Approval.objects.create(
                deletion=deletion,
                approver=person,
                approver_name=person.display_name,
                requester=deletion.requested_by,
                decision=decision,
                digest=deletion.approval_digest,
                reason=reason,
                decided_at=clock.now(),
            )
    except IntegrityError:
        raise ConflictError("You have decided on this one already.") from None
