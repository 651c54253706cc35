"""Records the response to one attempt, and applies the transition that follows from it."""

from datetime import datetime
from itertools import takewhile

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.datadog.client import DeleteResponse
from connections.datadog.responses import AttemptResult
from connections.deletions import failpoints, states
from connections.deletions.failpoints import Point
from connections.deletions.states import BecomeUnknown, EventDraft, Settle, Wait
from connections.models import (
    AMBIGUOUS,
    Attempt,
    Credential,
    Deletion,
    Outcome,
    State,
)
from connections.wording import attempt_facts


def record_response(
    *, attempt: Attempt, response: DeleteResponse, actor: Actor, kept_at: datetime | None = None
) -> bool:
    """Record the response and change the deletion's state, if this claim is still valid.

    A response that comes after the deletion changed is stored as late, with an alarm; it changes
    no state, but a 200 makes the next check due. `kept_at`: when it was written to a file because
    the database was unavailable, by this machine's clock.
    Returns False, having changed nothing, when the attempt has a response already.
    """
    with audit.atomic(durable=True):
        # Locked, so that the same response is recorded only once.
        stored = Attempt.objects.select_for_update(of=("self",), no_key=True).select_related(
            "deletion"
        )
        stored_attempt = stored.get(pk=attempt.pk)
        if stored_attempt.answered_at:
            return False
        now = clock.now()
        Credential.objects.filter(pk=stored_attempt.deletion.credential_id).update(
            last_used_at=now, last_error=_error_of(response, at=now.isoformat())
        )
        # Locked after its credential, as wherever both are. `responses_locked` holds this lock too,
        # so a decision made from the attempts either sees this response or precedes it.
        deletion = Deletion.objects.select_for_update(no_key=True).get(pk=attempt.deletion_id)
        was_ambiguous = deletion.attempts.filter(AMBIGUOUS).exclude(pk=attempt.pk).exists()
        _fill_in(attempt=attempt, response=response)
        attempt.answered_at = now
        attempt.is_late = deletion.epoch != attempt.epoch or deletion.state != State.SENDING
        if not attempt.is_late:
            transition = _transition_for(
                deletion=deletion, response=response, was_ambiguous=was_ambiguous, now=now
            )
            attempt.is_late = not _apply(
                transition,
                deletion=deletion,
                response=response,
                actor=actor,
                now=now,
                kept_at=kept_at,
            )
        # Saved once, when all is known: a trigger refuses later changes.
        attempt.save()
        if attempt.is_late:
            _make_check_due(deletion=deletion, response=response, now=now)
            audit.record(
                code=audit.EventCode.DELETION_ANSWERED_LATE,
                actor=actor,
                subject=deletion,
                sentence=f"A late answer to attempt {attempt.number}: "
                f"{response_summary(response)}.",
                details=_details(response, at=now, kept_at=kept_at) | {"attempt": attempt.number},
            )
        failpoints.hit(Point.INSIDE_RESULT, deletion_id=attempt.deletion_id)
    return True


def _make_check_due(*, deletion: Deletion, response: DeleteResponse, now: datetime) -> None:
    """After a late 200 one complete listing can settle the deletion, so check it at once."""
    if response.verdict == AttemptResult.DELETED:
        in_doubt = [State.UNKNOWN, State.STILL_PRESENT]
        Deletion.objects.filter(pk=deletion.pk, state__in=in_doubt).update(due_at=now)


def _details(
    response: DeleteResponse, *, at: datetime, kept_at: datetime | None
) -> dict[str, object]:
    details: dict[str, object] = {
        "verdict": response.verdict,
        "http_status": response.http_status,
        "errors": list(response.errors),
        "duration_ms": response.duration_ms,
        "body_sha256": response.body_sha256,
        "body_is_complete": response.body_complete,
        "headers": response.headers,
        # Not "cause", which is the deletion's.
        "response_cause": response.cause or "",
        "answered_at": at.isoformat(),
    }
    return details | ({"kept_at": kept_at.isoformat()} if kept_at else {})


def _transition_for(
    *, deletion: Deletion, response: DeleteResponse, was_ambiguous: bool, now: datetime
) -> Settle | Wait | BecomeUnknown:
    verdict = response.verdict
    return states.transition_for(
        deletion=deletion,
        response=response,
        now=now,
        was_ambiguous=was_ambiguous,
        had_late_success=verdict == AttemptResult.NOT_FOUND and deletion.has_late_success,
        times_not_sent=_times_not_sent(deletion) if verdict == AttemptResult.NOT_SENT else 0,
    )


def _times_not_sent(deletion: Deletion) -> int:
    """How often the request could not leave since a person confirmed it, this time included.

    By the order of the events and not by times, since a clock may be set back.
    """
    codes = [event.code for event in audit.events_of(subject=deletion)]
    newest_first = takewhile(
        lambda code: code != audit.EventCode.DELETION_CONFIRMED, reversed(codes)
    )
    tries = sum(code == audit.EventCode.DELETION_SENDING for code in newest_first)
    since = deletion.attempts.filter(epoch__gt=deletion.epoch - tries)
    # The verdict of this attempt is not stored yet.
    return since.filter(verdict=AttemptResult.NOT_SENT).count() + 1


def _apply(
    transition: Settle | Wait | BecomeUnknown,
    *,
    deletion: Deletion,
    response: DeleteResponse,
    actor: Actor,
    now: datetime,
    kept_at: datetime | None,
) -> bool:
    answered = EventDraft(
        code=audit.EventCode.DELETION_ANSWERED,
        sentence=f"{response_summary(response)} ({deletion.description}).",
        details=_details(response, at=now, kept_at=kept_at),
    )
    followed = EventDraft(
        code=states.event_code(transition), sentence=_sentence_for(transition, deletion=deletion)
    )
    return states.apply(deletion, transition=transition, actor=actor, events=[answered, followed])


def _sentence_for(transition: Settle | Wait | BecomeUnknown, *, deletion: Deletion) -> str:
    """What follows, for the audit log. The deletion's attempts are stored, this one included."""
    match transition:
        case Settle(outcome=Outcome.NOT_SENT):
            return (
                f"{deletion.description}: gave up, {transition.cause.replace('_', ' ')}. "
                f"{attempt_facts.in_full_of(deletion)}"
            )
        case Settle():
            return f"{deletion.description}: {transition.outcome.replace('_', ' ')}."
        case Wait():
            return f"{deletion.description}: waiting."
        case BecomeUnknown():
            return f"{deletion.description}: unknown."


def response_summary(response: DeleteResponse) -> str:
    """The response as a sentence without its full stop."""
    if response.http_status is not None:
        return f"Datadog answered {response.http_status} in {response.duration_ms} ms"
    if response.verdict == AttemptResult.NOT_SENT:
        return f"The request could not leave: {(response.cause or '').replace('_', ' ')}"
    return f"No answer: {(response.cause or '').replace('_', ' ')} after {response.duration_ms} ms"


def _error_of(response: DeleteResponse, *, at: str) -> dict[str, object] | None:
    if response.verdict in {AttemptResult.DELETED, AttemptResult.NOT_FOUND}:
        return None
    return {
        "at": at,
        "cause": response.cause or "",
        "http_status": response.http_status,
        "errors": list(response.errors),
    }


def _fill_in(*, attempt: Attempt, response: DeleteResponse) -> None:
    attempt.verdict = response.verdict
    attempt.cause = response.cause or ""
    attempt.duration_ms = response.duration_ms
    attempt.http_status = response.http_status
    attempt.headers = response.headers
    attempt.body = response.body
    attempt.body_sha256 = response.body_sha256
    attempt.body_is_complete = response.body_complete
    attempt.errors = list(response.errors)
