"""Records Datadog's responses, and what each changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, takewhile
from typing import Any

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import attempt_facts, failpoints, states
from connections.change_requests.actions import action_of
from connections.change_requests.failpoints import Point
from connections.change_requests.follow_ups import FollowUp
from connections.change_requests.states import Settle, Wait
from connections.change_requests.transition import Transition
from connections.core import clock
from connections.core.causes import KEYS_REJECTED, cause_text
from connections.datadog.responses import SUCCESSES, AttemptResult, WriteResponse
from connections.inventory import rate_limits, storing
from connections.models import (
    AMBIGUOUS,
    AttemptFields,
    ChangeRequest,
    CommonOutcome,
    State,
    Step,
)


def record(
    responses: Sequence[tuple[AttemptFields, WriteResponse]],
    *,
    actor: Actor,
    kept_at: datetime | None = None,
) -> int:
    """Record responses and change their requests, as far as their claims are still valid.

    Their attempts have one credential. A response that arrives after its request changed is stored
    as late, with an alarm. It changes no state, but a 200 makes the next check due. `kept_at` is
    when the response was written to a file because the database was unavailable, by this machine's
    clock. Returns how many are recorded now: an attempt that already has a response is left as it
    is.
    """
    with audit.atomic(durable=True):
        now = _lock_requests([attempt for attempt, _ in responses])
        answered = list[AttemptFields]()
        changes = list[_Change]()
        for attempt, response in responses:
            attempt.is_late = _is_late(attempt)
            # Recording a response ends the sending, so only a late one can already be recorded.
            if attempt.is_late and _has_response(attempt):
                continue
            _fill_in(attempt=attempt, response=response, at=now)
            _record_use(attempt=attempt, response=response, at=now, is_kept=kept_at is not None)
            if attempt.is_late:
                _record_late(
                    attempt=attempt, response=response, actor=actor, at=now, kept_at=kept_at
                )
            else:
                changes.append(_change_for(attempt, response=response, at=now, kept_at=kept_at))
            answered.append(attempt)
        _apply(changes, actor=actor)
        for attempt in answered:
            # Saved once everything is known, because a trigger refuses later changes.
            attempt.save()
            failpoints.hit(Point.INSIDE_RESULT, change_request_id=attempt.change_request_id)
    return len(answered)


def _lock_requests(attempts: Sequence[AttemptFields]) -> datetime:
    """Lock the requests of these attempts and read them again. Return the time of that read.

    Code that also locks their credentials locks those first. `lock_responses` holds these locks
    too, so a decision made from the attempts either sees a response or precedes it.
    """
    # Untyped, because each kind of request has its own field for the credential.
    rows: Any = type(attempts[0].change_request)._default_manager.annotate(now=clock.now_in_query())
    locked = rows.select_related("credential").select_for_update(
        of=("credential", "self"), no_key=True
    )
    # In a fixed order, so that two processes don't wait for each other.
    in_order = locked.filter(pk__in=[attempt.change_request_id for attempt in attempts])
    change_requests = {row.pk: row for row in in_order.order_by("pk")}
    for attempt in attempts:
        attempt.change_request = change_requests[attempt.change_request_id]
    now: datetime = max(change_request.now for change_request in change_requests.values())
    return now


def _is_late(attempt: AttemptFields) -> bool:
    """Whether its locked request has changed since the claim."""
    change_request = attempt.change_request
    return change_request.epoch != attempt.epoch or change_request.state != State.SENDING


def _record_use(
    *, attempt: AttemptFields, response: WriteResponse, at: datetime, is_kept: bool
) -> None:
    """Record what a response says about the credential and its org."""
    change_request = attempt.change_request
    # Other failures are about one connection or the network. The next sync tells whether the keys
    # still work, and the one that verifies a 200 records the use.
    if response.verdict == AttemptResult.NOT_FOUND or response.cause in KEYS_REJECTED:
        storing.record_use(
            credential_id=change_request.credential_id, at=at, failure=_failure_of(response)
        )
    limit = response.rate_limit
    if limit and limit.is_low and not is_kept:
        rate_limits.record(
            site=change_request.site,
            org_id=change_request.credential.org_id,
            rate_limits=[limit],
            now=at,
        )


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What the response to the newest attempt changes, with the events that record it."""

    change_request: ChangeRequest
    transition: Transition
    events: list[audit.EventDraft]


def _change_for(
    attempt: AttemptFields, *, response: WriteResponse, at: datetime, kept_at: datetime | None
) -> _Change:
    change_request, verdict = attempt.change_request, response.verdict
    was_ambiguous = (
        attempt.number > 1
        and change_request.step_attempts.filter(AMBIGUOUS).exclude(pk=attempt.pk).exists()
    )
    transition = states.transition_for(
        change_request=change_request,
        response=response,
        now=at,
        was_ambiguous=was_ambiguous,
        had_late_success=verdict == AttemptResult.NOT_FOUND and change_request.has_late_success,
        times_not_sent=_times_not_sent(change_request) if verdict == AttemptResult.NOT_SENT else 0,
    )
    action = action_of(change_request)
    followed = action.follow(change_request, transition, now=at)
    answered = audit.EventDraft(
        code=change_request.event_code(Step.ANSWERED),
        sentence=audit.Sentence(
            "{connection}: {response}",
            response=response_summary(response),
            connection=change_request.description,
        ),
        details=_details(attempt, kept_at=kept_at),
        rows=_response_rows(attempt),
    )
    if isinstance(followed, FollowUp):
        then = followed.event(change_request)
    else:
        then = audit.EventDraft(
            code=change_request.event_code(followed.step),
            sentence=_sentence_for(followed, attempt=attempt),
        )
    return _Change(change_request=change_request, transition=followed, events=[answered, then])


def _apply(changes: Sequence[_Change], *, actor: Actor) -> None:
    """Apply changes. Those in a row that are equal share their statements."""
    for transition, group in groupby(changes, key=lambda change: change.transition):
        events = {change.change_request: change.events for change in group}
        states.apply_to_all(
            list(events), transition=transition, actor=actor, events_of=events.__getitem__
        )


def _record_late(
    *,
    attempt: AttemptFields,
    response: WriteResponse,
    actor: Actor,
    at: datetime,
    kept_at: datetime | None,
) -> None:
    change_request = attempt.change_request
    awaits_outcome = change_request.awaits_outcome
    if response.verdict in SUCCESSES and awaits_outcome:
        # One complete list can settle the request now, so check it immediately.
        change_request.due_at = at
        change_request.save(update_fields=["due_at"])
    audit.record(
        code=change_request.event_code(Step.ANSWERED_LATE),
        actor=actor,
        subject=change_request,
        sentence=audit.Sentence(
            "Late response to attempt {number}: {response}",
            number=attempt.number,
            response=response_summary(response),
        ),
        details=_details(attempt, kept_at=kept_at) | {"attempt": attempt.number},
        rows=_response_rows(attempt),
    )


def _has_response(attempt: AttemptFields) -> bool:
    """Whether the database already has a response to it."""
    stored = type(attempt)._default_manager.filter(pk=attempt.pk)
    return stored.filter(answered_at__isnull=False).exists()


# What an attempt and its event both copy from the response, under the same name.
_COPIED = ("verdict", "http_status", "duration_ms", "body_sha256", "body_is_complete", "headers")


def _fill_in(*, attempt: AttemptFields, response: WriteResponse, at: datetime) -> None:
    for name in _COPIED:
        setattr(attempt, name, getattr(response, name))
    attempt.body = response.body
    attempt.cause = response.cause or ""
    attempt.errors = list(response.errors)
    attempt.answered_at = at


def _details(attempt: AttemptFields, *, kept_at: datetime | None) -> dict[str, object]:
    names = ("verdict", "http_status", "duration_ms", "errors")
    details: dict[str, object] = {name: getattr(attempt, name) for name in names}
    return details | ({"kept_at": kept_at.isoformat()} if kept_at else {})


# Every column of an attempt that its response sets.
_RESPONSE_COLUMNS = (*_COPIED, "body", "cause", "errors", "answered_at", "is_late")


def _response_rows(attempt: AttemptFields) -> audit.Rows:
    response = {name: getattr(attempt, name) for name in _RESPONSE_COLUMNS}
    return {f"attempt {attempt.number}": audit.columns_of(response)}


def _failure_of(response: WriteResponse) -> dict[str, object] | None:
    if response.verdict == AttemptResult.NOT_FOUND:
        return None
    return {
        "cause": response.cause or "",
        "http_status": response.http_status,
        "errors": list(response.errors),
    }


def _times_not_sent(change_request: ChangeRequest) -> int:
    """How often the request could not leave since a person confirmed it, including this time.

    Counted by the order of events and not by times, because a clock can be set back.
    """
    codes = [event.code for event in audit.events_of(subject=change_request)]
    newest_first = takewhile(
        lambda code: code != change_request.event_code(Step.CONFIRMED), reversed(codes)
    )
    tries = sum(code == change_request.event_code(Step.SENDING) for code in newest_first)
    since = change_request.step_attempts.filter(epoch__gt=change_request.epoch - tries)
    # The verdict of this attempt is not stored yet.
    return since.filter(verdict=AttemptResult.NOT_SENT).count() + 1


def _sentence_for(transition: Transition, *, attempt: AttemptFields) -> audit.Sentence:
    """What the response to this attempt led to, for the audit log."""
    change_request = attempt.change_request
    connection = change_request.description
    match transition:
        case Settle(outcome=CommonOutcome.NOT_SENT):
            # The response of this attempt is not stored yet.
            earlier = change_request.attempts.exclude(pk=attempt.pk).order_by("number")
            return audit.Sentence(
                "The {title} {connection} was stopped. {why} {facts}",
                title=change_request.title,
                connection=connection,
                why=cause_text(transition.cause),
                facts=attempt_facts.attempts_summary([*earlier, attempt]),
            )
        case Settle():
            return audit.Sentence(
                "The {title} {connection} is closed: {outcome}.",
                title=change_request.title,
                connection=connection,
                outcome=change_request.outcomes(transition.outcome).label,
            )
        case Wait():
            return audit.Sentence(
                "The {method} for {connection} will be retried.",
                method=attempt.method,
                connection=connection,
            )
        case _:
            return audit.Sentence(
                "The outcome of the {title} {connection} is unknown.",
                title=change_request.title,
                connection=connection,
            )


def response_summary(response: WriteResponse) -> str:
    """What Datadog returned, or why no usable response arrived, in a sentence or two."""
    if response.http_status is not None:
        return f"Datadog returned {response.http_status} in {response.duration_ms} ms."
    cause = cause_text(response.cause or "")
    if response.verdict == AttemptResult.NOT_SENT:
        return f"The request didn't leave this server. {cause}"
    return f"No usable response in {response.duration_ms} ms. {cause}"
