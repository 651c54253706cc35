"""Ending a deletion by a person's decision: taking it back, or closing it without knowing."""

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.core.errors import ConflictError, InvalidInputError, has_visible_text
from connections.deletions import states as deletion_states
from connections.deletions.states import EventDraft, Transition
from connections.models import Deletion, Outcome, State
from connections.wording import attempt_facts


def withdraw_deletion(*, deletion: Deletion, actor: Actor, reason: str = "") -> Deletion:
    """Take it back before anything may have been carried out.

    Raises PermissionDenied, and ConflictError when it is too late.
    """
    permissions.require(
        permissions.can_withdraw(actor, deletion=deletion), "withdraw this deletion"
    )
    if not can_be_withdrawn(deletion):
        raise ConflictError("It is too late to withdraw it: look at its state.")
    sentence = (
        f"{personal_data.name_of(actor)} took back the deletion of {deletion.description}. "
        f"{attempt_facts.in_full_of(deletion)}"
    )
    return _settle_by_person(
        deletion=deletion,
        actor=actor,
        outcome=Outcome.WITHDRAWN,
        reason=reason,
        note=EventDraft(code=audit.EventCode.DELETION_WITHDRAWN, sentence=sentence),
    )


def can_be_withdrawn(deletion: Deletion) -> bool:
    """Whether it can still be taken back: nothing sent that may have been carried out."""
    states = {State.REQUESTED, State.APPROVED, State.WAITING}
    return deletion.state in states and not deletion.has_ambiguous_attempt


def close_deletion(*, deletion: Deletion, actor: Actor, reason: str) -> Deletion:
    """End an unknown, or one still present, without knowing; never counted as deleted.

    Raises PermissionDenied, InvalidInputError without a reason, ConflictError in other states.
    """
    permissions.require(
        permissions.can_use(actor, credential_id=deletion.credential_id), "close a deletion"
    )
    if deletion.state not in {State.UNKNOWN, State.STILL_PRESENT}:
        raise ConflictError("Only an unknown or still present deletion can be closed.")
    if not has_visible_text(reason):
        raise InvalidInputError({"reason": "Say why it is closed without knowing."})
    sentence = (
        f"{personal_data.name_of(actor)} closed the deletion of {deletion.description} "
        "without knowing. "
        f"{attempt_facts.earlier_attempts(attempt_facts.attempts_of(deletion))}".strip()
    )
    return _settle_by_person(
        deletion=deletion,
        actor=actor,
        outcome=Outcome.UNRESOLVED,
        reason=reason,
        note=EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence),
    )


def _settle_by_person(
    *, deletion: Deletion, actor: Actor, outcome: Outcome, reason: str, note: EventDraft
) -> Deletion:
    reason = reason.strip()
    moved = deletion_states.apply(
        deletion=deletion,
        actor=actor,
        to=Transition(state=State.SETTLED, outcome=outcome),
        notes=[EventDraft(code=note.code, sentence=note.sentence, details={"reason": reason})],
        settled_reason=reason,
    )
    if not moved:
        raise ConflictError("It has just moved on. Look at its state and decide again.")
    return deletion
