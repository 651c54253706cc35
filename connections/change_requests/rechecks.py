"""Checks with Datadog, before approving and sending, that what was requested is unchanged."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import attempt_facts, states, verification
from connections.change_requests.actions import Recheck, RecheckResult, action_of
from connections.change_requests.states import FailRecheck, Settle
from connections.core import clock, time_limits
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.inventory import fetching, storing
from connections.inventory.fetching import SyncResult
from connections.models import ChangeRequest, CommonOutcome, State, Step

# Seconds for a check that a page waits for.
PAGE_SECONDS = 4.0


def preview_recheck(*, change_request: ChangeRequest) -> Recheck:
    """Sync within PAGE_SECONDS for an approver's page. Stores nothing."""
    try:
        result = fetching.fetch(
            credential=change_request.credential,
            find=change_request.connection_id,
            deadline_seconds=PAGE_SECONDS,
        )
    except UnavailableError as error:
        result = SyncResult(cause=error.cause, started_at=clock.now())
    return _compare(change_request, result=result)


def recheck_and_store(*, change_request: ChangeRequest, actor: Actor) -> Recheck:
    """Sync for the approval itself. Store the result, so that every page shows it."""
    try:
        result = fetching.fetch(credential=change_request.credential)
        storing.store(result, actor=actor)
    except UnavailableError as error:
        result = SyncResult(cause=error.cause)
    return _compare(change_request, result=result)


def _compare(change_request: ChangeRequest, *, result: SyncResult) -> Recheck:
    """Compare what one sync listed, and the agreement, with what was requested."""
    action = action_of(change_request)
    comparison = action.compare(change_request, result=result)
    if comparison.can_be_approved and action.is_agreement_newer(change_request):
        changed, cause = RecheckResult.CHANGED, Cause.AGREEMENT_CHANGED
        return replace(comparison, result=changed, cause=cause)
    return comparison


def recheck(*, change_request: ChangeRequest, result: SyncResult, actor: Actor) -> Recheck | None:
    """What the pre-send check says of the request, if it can be sent after it.

    Otherwise records why not and returns None.
    """
    action = action_of(change_request)
    comparison = _compare(change_request, result=result)
    is_unreadable = comparison.result == RecheckResult.UNREADABLE
    if is_unreadable and action.requires_listing(change_request):
        # A list can be complete and still decide nothing.
        failed = replace(result, cause=comparison.cause)
        record_recheck_failure(change_request=change_request, result=failed, actor=actor)
        return None
    if not comparison.can_be_approved:
        settle_not_as_requested(change_request=change_request, comparison=comparison, actor=actor)
        return None
    return comparison


def settle_not_as_requested(
    *, change_request: ChangeRequest, comparison: Recheck, actor: Actor
) -> None:
    """Settle a request whose connection changed or is gone since the request."""
    with verification.lock_responses(change_request=change_request):
        facts = attempt_facts.attempts_summary_of(change_request)
        action = action_of(change_request)
        columns = action.columns_from(change_request, comparison.item)
        if (
            comparison.shows_effect
            and change_request.has_late_success
            and action.confirms_success(change_request, comparison.item)
        ):
            verification.settle_late_success(
                change_request=change_request,
                actor=actor,
                cause=Cause.ABSENT_WHEN_READ if action.deletes else Cause.CHANGED_WHEN_READ,
                seen_at=comparison.at or clock.now(),
                connection_columns=columns,
            )
            return
        outcome: str = CommonOutcome.STALE
        if comparison.cause != Cause.AGREEMENT_CHANGED:
            outcome = action.outcome_before_sending(change_request, comparison)
        cause, details, sentence = _reason_not_to_send(
            change_request, comparison=comparison, facts=facts
        )
        event = audit.EventDraft(
            code=change_request.event_code(Step.SETTLED), sentence=sentence, details=details
        )
        transition = Settle(
            outcome=outcome, cause=cause, details=details, connection_columns=columns
        )
        states.apply(change_request, transition=transition, actor=actor, events=[event])


def _reason_not_to_send(
    change_request: ChangeRequest, *, comparison: Recheck, facts: str
) -> tuple[str, dict[str, Any], audit.Sentence]:
    """The cause of the outcome, what Datadog lists now, and the sentence of its event."""
    connection = change_request.description
    if comparison.cause == Cause.AGREEMENT_CHANGED:
        sentence = audit.Sentence(
            "The agreement about {connection} changed after the request. {facts}",
            connection=connection,
            facts=facts,
        )
        return Cause.AGREEMENT_CHANGED, {}, sentence
    if comparison.listed is None:
        sentence = audit.Sentence(
            "{connection} is no longer listed. {facts}", connection=connection, facts=facts
        )
        return Cause.ABSENT_WHEN_READ, {}, sentence
    names = ("source_org_name", "sink_org_name", "connection_types")
    now_says = {"now_says": {name: getattr(comparison.listed, name) for name in names}}
    if comparison.shows_effect:
        sentence = audit.Sentence(
            "{connection} is already as requested. {facts}", connection=connection, facts=facts
        )
        # An earlier attempt might be why.
        might_have_worked = change_request.has_ambiguous_attempt
        return Cause.CHANGED_WHEN_READ if might_have_worked else "", now_says, sentence
    sentence = audit.Sentence(
        "{connection} changed after the request. {facts}", connection=connection, facts=facts
    )
    return Cause.CHANGED_WHEN_READ, now_says, sentence


def record_recheck_failure(
    *, change_request: ChangeRequest, result: SyncResult, actor: Actor
) -> None:
    """Record that the pre-send check failed. Nothing is sent and the state stays."""
    details = result.failure
    sentence = audit.Sentence(
        "The pre-send check of {connection} failed. {facts}",
        connection=change_request.description,
        facts=attempt_facts.attempts_summary_of(change_request),
    )
    due_at = clock.now() + _retry_after(result) if change_request.state == State.WAITING else None
    if due_at and change_request.expires_at:
        due_at = min(due_at, change_request.expires_at)
    states.apply(
        change_request,
        transition=FailRecheck(details=details, due_at=due_at),
        actor=actor,
        events=[
            audit.EventDraft(
                code=change_request.event_code(Step.RECHECK_FAILED),
                sentence=sentence,
                details=details,
            )
        ],
    )


def _retry_after(result: SyncResult) -> timedelta:
    """How long to wait after a failed sync: after a 429, until the org's rate limit resets."""
    if result.cause == Cause.STILL_LISTED:
        return timedelta(seconds=20)
    if result.cause != Cause.RATE_LIMITED:
        return timedelta(seconds=60)
    resets = [limit.reset_seconds for limit in result.rate_limits if limit.is_low]
    return min(timedelta(seconds=max(resets, default=60)), time_limits.SENDING_WINDOW)
