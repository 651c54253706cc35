"""Settles requests whose result is unknown, based on Datadog's lists. Never sends anything."""

from datetime import datetime

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.change_requests import attempt_facts, guards, states, verification
from connections.change_requests.actions import action_of
from connections.change_requests.follow_ups import FollowUp
from connections.change_requests.states import (
    BecomeNoEffect,
    BecomeUnknown,
    Check,
    RecordCheck,
    Settle,
)
from connections.change_requests.transition import Transition
from connections.core import clock, time_limits
from connections.core.causes import Cause
from connections.core.errors import ConflictError, OvertakenError
from connections.core.text import format_limit
from connections.models import ChangeRequest, State, Step


def check[R: ChangeRequest](*, change_request: R, actor: Actor) -> R:
    """Check with Datadog now, and settle the request if the list proves its result.

    An attempt without a recorded response after 60 s first becomes unknown. Raises
    PermissionDenied, and ConflictError when a list can't prove anything about this request.
    """
    permissions.require(
        permissions.can_use(actor, credential_id=change_request.credential_id),
        f"check this {change_request.label} with Datadog",
    )
    action = action_of(change_request)
    if change_request.state == State.SENDING:
        expire_lost_claim(change_request=change_request, actor=actor)
    if change_request.awaits_outcome:
        reconcile_unknown(change_request=change_request, actor=actor)
    elif change_request.outcome in action.checked_outcomes:
        verification.verify(change_request=change_request, actor=actor)
    elif change_request.state == State.SENDING:
        raise ConflictError(f"The {action.method} is in progress. Wait for the response.")
    else:
        raise OvertakenError(f"This {change_request.label} has nothing to check with Datadog.")
    return change_request


def expire_lost_claim(*, change_request: ChangeRequest, actor: Actor) -> bool:
    """Make a request unknown if its claim has no recorded response after 60 s.

    Return whether it did.
    """
    now = clock.now()
    started = change_request.sending_at
    if change_request.state != State.SENDING or not started:
        return False
    if clock.elapsed_since(started, now=now) < time_limits.CLAIM_TIMEOUT:
        return False
    sentence = audit.Sentence(
        "No response was recorded within {limit}. {connection} might have been {done}.",
        done=action_of(change_request).done,
        limit=format_limit(time_limits.CLAIM_TIMEOUT),
        connection=change_request.description,
    )
    started = guards.happened_by(started, now=now)
    due_at = states.next_check_at(sending_at=started, now=now)
    return states.apply(
        change_request,
        transition=BecomeUnknown(cause=Cause.ANSWER_LOST, due_at=due_at),
        actor=actor,
        events=[audit.EventDraft(code=change_request.event_code(Step.UNKNOWN), sentence=sentence)],
    )


def reconcile_unknown(*, change_request: ChangeRequest, actor: Actor) -> None:
    """Check a request with an unknown result or no effect once with Datadog. Settle it if proven.

    After a late 200, one complete list that shows the effect is enough. Otherwise two complete
    lists must agree: the first at least 35 s after the attempt began, the second at least 60 s
    after the first. Anything less leaves the request as it is.
    """
    result = verification.list_with_any_credential(change_request=change_request, actor=actor)
    now = clock.now()
    sending_at = guards.happened_by(change_request.sending_at or now, now=now)
    checked_at = result.started_at or now
    action = action_of(change_request)
    listed = verification.is_listed(change_request=change_request, result=result)
    finding = action.find_outcome(change_request, result=result)
    item = action.find(change_request, result=result)
    columns = action.columns_from(change_request, item)
    check = None
    is_late_enough = checked_at - sending_at >= time_limits.FIRST_CHECK_DELAY
    if listed is not None and finding is not None and is_late_enough:
        check = Check(at=checked_at, is_listed=listed, finding=finding, connection_columns=columns)
    due_at = states.next_check_at(sending_at=sending_at, now=now)
    if change_request.expires_at:
        due_at = min(due_at, change_request.expires_at)
    event = verification.check_event(change_request=change_request, result=result)
    with verification.lock_responses(change_request=change_request):
        if (
            action.shows_effect(change_request, result=result)
            and change_request.has_late_success
            and action.confirms_success(change_request, item)
        ):
            verification.settle_late_success(
                change_request=change_request,
                actor=actor,
                cause=Cause.LATER_LISTING,
                seen_at=checked_at,
                events=[event],
                connection_columns=columns,
            )
            return
        proven = _transition_after_check(
            change_request, check=check, due_at=due_at, details=event.details
        )
        transition = action.follow(change_request, proven, now=now)
        events = [event, *_events_of(transition, change_request=change_request)]
        states.apply(change_request, transition=transition, actor=actor, events=events)


def _transition_after_check(
    change_request: ChangeRequest,
    *,
    check: Check | None,
    due_at: datetime,
    details: dict[str, object],
) -> Settle | BecomeNoEffect | RecordCheck:
    """What one check means. `check` is None if it can't count as one of the two."""
    last_at = change_request.last_checked_at
    agrees = check is not None and change_request.last_finding == check.finding
    is_decided = (
        check is not None
        and last_at is not None
        and agrees
        and check.at - last_at >= time_limits.SECOND_CHECK_DELAY
    )
    # If both agree, the first check stays, because the second is measured from it.
    kept = None if agrees and not is_decided else check
    is_unknown = change_request.state == State.UNKNOWN
    if check and check.finding and not is_unknown:
        return _settle(check, cause=Cause.LATER_LISTING, kept=kept)
    if check and is_unknown and is_decided:
        if not check.finding:
            return BecomeNoEffect(check=check, due_at=due_at)
        return _settle(check, cause=Cause.LISTINGS_AGREE, kept=kept)
    return RecordCheck(details=details, due_at=due_at, check=kept)


def _settle(check: Check, *, cause: Cause, kept: Check | None) -> Settle:
    return Settle(
        outcome=check.finding, cause=cause, check=kept, connection_columns=check.connection_columns
    )


def _events_of(transition: Transition, *, change_request: ChangeRequest) -> list[audit.EventDraft]:
    action = action_of(change_request)
    connection = change_request.description
    match transition:
        case BecomeNoEffect():
            step = Step.NO_EFFECT
            sentence = audit.Sentence(
                "Two complete syncs agree: {connection} {is_not_seen}.",
                connection=connection,
                is_not_seen=action.is_not_seen,
            )
        case Settle():
            step = Step.SETTLED
            attempts = attempt_facts.attempts_of(change_request)
            sentence = action.settled_by_lists_sentence(
                change_request, outcome=transition.outcome
            ).followed_by(attempt_facts.earlier_attempts(attempts))
        case FollowUp():
            return [transition.event(change_request)]
        case _:
            return []
    return [audit.EventDraft(code=change_request.event_code(step), sentence=sentence)]
