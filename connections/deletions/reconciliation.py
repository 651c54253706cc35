"""Closes deletions whose result is unknown, based on Datadog's lists. Never sends a DELETE."""

from datetime import datetime

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock, time_limits
from connections.core.causes import Cause
from connections.core.errors import ConflictError, OvertakenError
from connections.core.text import format_limit
from connections.deletions import attempt_facts, states, verification
from connections.deletions.states import (
    BecomeStillPresent,
    BecomeUnknown,
    Check,
    RecordCheck,
    Settle,
)
from connections.models import GONE_OUTCOMES, Deletion, Outcome, State


def check_deletion(*, deletion: Deletion, actor: Actor) -> Deletion:
    """Check with Datadog now, and close the deletion if the list proves its result.

    An attempt without a recorded response after 60 s first becomes unknown. Raises
    PermissionDenied, and ConflictError when a list can't prove anything about this deletion.
    """
    permissions.require(
        permissions.can_use(actor, credential_id=deletion.credential_id),
        "check a deletion with Datadog",
    )
    if deletion.state == State.SENDING:
        expire_lost_claim(deletion=deletion, actor=actor)
    if deletion.state in {State.UNKNOWN, State.STILL_PRESENT}:
        reconcile_unknown(deletion=deletion, actor=actor)
    elif deletion.outcome in GONE_OUTCOMES:
        verification.verify_settled(deletion=deletion, actor=actor)
    elif deletion.state == State.SENDING:
        raise ConflictError("The DELETE is in progress. Wait for the response.")
    else:
        raise OvertakenError("This deletion has nothing to check with Datadog.")
    return deletion


def expire_lost_claim(*, deletion: Deletion, actor: Actor) -> bool:
    """Make a deletion unknown if its claim has no recorded response after 60 s.

    Return whether it did.
    """
    now = clock.now()
    started = deletion.sending_at
    if deletion.state != State.SENDING or not started:
        return False
    if clock.elapsed_since(started, now=now) < time_limits.CLAIM_TIMEOUT:
        return False
    sentence = audit.Sentence(
        "No response was recorded within {limit}. {connection} might have been deleted.",
        limit=format_limit(time_limits.CLAIM_TIMEOUT),
        connection=deletion.description,
    )
    due_at = states.next_check_at(sending_at=started, now=now)
    return states.apply(
        deletion,
        transition=BecomeUnknown(cause=Cause.ANSWER_LOST, due_at=due_at),
        actor=actor,
        events=[audit.EventDraft(code=audit.EventCode.DELETION_UNKNOWN, sentence=sentence)],
    )


def reconcile_unknown(*, deletion: Deletion, actor: Actor) -> None:
    """Check an unknown or still-present deletion once with Datadog, and close it if that is proof.

    After a late 200, one complete list without the connection is enough. Otherwise two complete
    lists must agree: the first at least 35 s after the attempt began, the second at least 60 s
    after the first. Anything less leaves the deletion as it is.
    """
    result = verification.list_with_any_credential(deletion=deletion, actor=actor)
    now = clock.now()
    sending_at = states.sending_started_at(deletion, now=now)
    checked_at = result.started_at or now
    listed = verification.is_listed(deletion=deletion, result=result)
    check = None
    if listed is not None and checked_at - sending_at >= time_limits.FIRST_CHECK_DELAY:
        check = Check(at=checked_at, is_listed=listed)
    due_at = states.next_check_at(sending_at=sending_at, now=now)
    if deletion.expires_at:
        due_at = min(due_at, deletion.expires_at)
    event = verification.check_event(deletion=deletion, result=result)
    with verification.lock_responses(deletion=deletion):
        if listed is False and deletion.has_late_success:
            verification.settle_late_success(
                deletion=deletion,
                actor=actor,
                cause=Cause.LATER_LISTING,
                seen_at=checked_at,
                events=[event],
            )
            return
        transition = _transition_after_check(
            deletion, check=check, now=now, due_at=due_at, details=event.details
        )
        events = [event, *_events_of(transition, deletion=deletion)]
        states.apply(deletion, transition=transition, actor=actor, events=events)


def _transition_after_check(
    deletion: Deletion,
    *,
    check: Check | None,
    now: datetime,
    due_at: datetime,
    details: dict[str, object],
) -> Settle | BecomeStillPresent | RecordCheck:
    """What one check means. `check` is None if it can't count as one of the two."""
    last_at = deletion.last_checked_at
    is_last_ahead = last_at is not None and clock.is_ahead(last_at, now=now)
    agrees = check is not None and deletion.last_check_listed == check.is_listed
    is_decided = (
        check is not None
        and last_at is not None
        and not is_last_ahead
        and agrees
        and check.at - last_at >= time_limits.SECOND_CHECK_DELAY
    )
    # If both agree, the first check stays, because the second is measured from it.
    kept = None if agrees and not is_last_ahead and not is_decided else check
    if check and deletion.state == State.STILL_PRESENT and not check.is_listed:
        return _settle_as_gone(Cause.LATER_LISTING, check=kept)
    if check and deletion.state == State.UNKNOWN and is_decided:
        if check.is_listed:
            return BecomeStillPresent(check=check, due_at=due_at)
        return _settle_as_gone(Cause.LISTINGS_AGREE, check=kept)
    return RecordCheck(details=details, due_at=due_at, check=kept)


def _settle_as_gone(cause: Cause, *, check: Check | None) -> Settle:
    return Settle(outcome=Outcome.GONE_UNATTRIBUTED, cause=cause, check=check)


def _events_of(
    transition: Settle | BecomeStillPresent | RecordCheck, *, deletion: Deletion
) -> list[audit.EventDraft]:
    match transition:
        case BecomeStillPresent():
            code = audit.EventCode.DELETION_STILL_PRESENT
            sentence = audit.Sentence(
                "Two complete syncs agree: {connection} is still listed.",
                connection=deletion.description,
            )
        case Settle():
            code = audit.EventCode.DELETION_SETTLED
            attempts = attempt_facts.attempts_of(deletion)
            sentence = audit.Sentence(
                "{connection} is no longer listed. This doesn't prove that this "
                "request deleted it.",
                connection=deletion.description,
            ).followed_by(attempt_facts.earlier_attempts(attempts))
        case RecordCheck():
            return []
    return [audit.EventDraft(code=code, sentence=sentence)]
