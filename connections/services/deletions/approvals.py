"""A second person's yes or no to exactly what will be sent. Approving sends nothing."""

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError

from connections import clock, policies
from connections.actors import Actor
from connections.models import Approval, Deletion, Outcome, State
from connections.services.deletions import fresh_looks, rereading, transitions
from connections.services.deletions.fresh_looks import Found, FreshLook
from connections.services.deletions.transitions import Next, Note, describe
from connections.services.errors import ConflictError, InvalidInputError, has_words
from connections.services.org_connections import protections
from connections.services.record import audit, erasable

_MOVED_ON = "It has just moved on. Look at its state."


def approve_deletion(*, deletion: Deletion, actor: Actor, digest: str) -> Deletion:
    """Agree to what the digest stands for; when enough people have, the requester may confirm.

    `digest` is the one the approver's page showed. Datadog is read once more: what changed, or
    is gone, settles the deletion instead; where it cannot be read, the stored view was approved,
    and it is read again before anything is sent.

    Raises PermissionDenied (one's own included) and ConflictError when it no longer waits for
    approval, shows something else or is protected.
    """
    _check_may_decide(deletion=deletion, actor=actor)
    _check_awaits_approval(deletion)
    protections.require_unprotected(protections.protection_against(deletion))
    if digest != deletion.approval_digest:
        raise ConflictError("What you were shown is not what would be sent. Look again.")
    _check_is_undecided(deletion=deletion, actor=actor)
    look, reading = fresh_looks.look_and_keep(deletion=deletion, actor=actor)
    if not look.may_be_approved:
        rereading.is_as_reviewed(deletion=deletion, reading=reading, actor=actor)
        raise ConflictError(_NOT_WHAT_WAS_ASKED[look.found])
    with audit.act():
        _lock(deletion)
        _decide(deletion=deletion, actor=actor, decision=Approval.Decision.APPROVED)
        given = deletion.approvals.filter(decision=Approval.Decision.APPROVED).count()
        _note_approval(
            deletion=deletion,
            actor=actor,
            missing=max(0, transitions.approvals_needed(deletion) - given),
            look=look,
        )
    return deletion


_NOT_WHAT_WAS_ASKED = {
    Found.CHANGED: "It changed since it was asked for, so it cannot be approved. Nothing was sent.",
    Found.ABSENT: "Datadog no longer lists it, so there is nothing to approve. Nothing was sent.",
}


def _note_approval(*, deletion: Deletion, actor: Actor, missing: int, look: FreshLook) -> None:
    now = clock.now()
    window: dict[str, object] = {
        "approved_at": now,
        "expires_at": now + transitions.CONFIRMING_WINDOW,
        "due_at": now + transitions.CONFIRMING_WINDOW,
    }
    note = Note(
        code=audit.Code.DELETION_APPROVED,
        sentence=f"{erasable.name(actor)} approved the deletion of {describe(deletion)}. "
        "Nothing was sent.",
        details={
            "digest": deletion.approval_digest,
            "missing": missing,
            "was_read": look.found == Found.SAME,
            "not_read_because": look.cause,
        },
    )
    moved = transitions.move(
        deletion=deletion,
        actor=actor,
        to=Next(state=State.REQUESTED if missing else State.APPROVED),
        notes=[note],
        **({} if missing else window),
    )
    if not moved:
        # Raised inside the transaction, so that the approval itself is undone too.
        raise ConflictError(_MOVED_ON)


def _lock(deletion: Deletion) -> None:
    """One decision at a time: of two approvers at once the second must count the first."""
    Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
    deletion.refresh_from_db()
    _check_awaits_approval(deletion)


def who_can_approve(*, deletion: Deletion) -> list[str]:
    """Names of the people who could approve this one now and have not, in order."""
    undecided = policies.people_who_can_approve(deletion=deletion).exclude(
        pk__in=deletion.approvals.values("approver")
    )
    return [person.display_name for person in undecided.order_by("username")]


def decline_deletion(*, deletion: Deletion, actor: Actor, reason: str) -> Deletion:
    """Say no, with a reason, which ends the deletion.

    Raises PermissionDenied, InvalidInputError without a reason, ConflictError when too late.
    """
    _check_may_decide(deletion=deletion, actor=actor)
    if not has_words(reason):
        raise InvalidInputError({"reason": "Say why you decline it."})
    _check_awaits_approval(deletion)
    with audit.act():
        _lock(deletion)
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
            raise ConflictError(_MOVED_ON)
    return deletion


def _check_may_decide(*, deletion: Deletion, actor: Actor) -> None:
    if actor.person and deletion.requested_by_id == actor.person.pk:
        raise PermissionDenied("You asked for this; someone else must approve.")
    policies.require(
        policies.can_approve(actor, deletion=deletion), "approve or decline this deletion"
    )


def _check_awaits_approval(deletion: Deletion) -> None:
    expired = transitions.has_expired(deletion, now=clock.now())
    if expired or not transitions.awaits_approval(deletion):
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
        _check_is_undecided(deletion=deletion, actor=actor)
        raise ConflictError(_MOVED_ON) from None


def _check_is_undecided(*, deletion: Deletion, actor: Actor) -> None:
    if deletion.approvals.filter(approver=actor.person).exists():
        raise ConflictError("You have decided on this one already.")
