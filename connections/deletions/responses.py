"""Writing down what came back from one sending, and what follows from it."""

from datetime import datetime, timedelta
from itertools import takewhile

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.datadog.client import DeleteResponse
from connections.datadog.responses import AttemptResult
from connections.deletions import failpoints, states
from connections.deletions.failpoints import Point
from connections.deletions.states import EventDraft, Transition
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
    *, attempt: Attempt, answer: DeleteResponse, actor: Actor, kept_at: datetime | None = None
) -> bool:
    """Write what came back and move the deletion, if this claim still stands.

    An answer that comes after the deletion moved on is stored as late, with an alarm; it changes
    no state, but a 200 makes the next look due. `kept_at`: since when it waited in a file for the
    database, by this machine's clock.
    Returns False, having changed nothing, when the attempt has its answer already.
    """
    with audit.atomic(durable=True):
        # Locked, so that however often an answer is handed in it is recorded once.
        stored = Attempt.objects.select_for_update(of=("self",), no_key=True).select_related(
            "deletion"
        )
        stored_attempt = stored.get(pk=attempt.pk)
        if stored_attempt.answered_at:
            return False
        now = clock.now()
        Credential.objects.filter(pk=stored_attempt.deletion.credential_id).update(
            last_used_at=now, last_error=_error_of(answer, at=now.isoformat())
        )
        # After its credential, as wherever both are locked. Whoever settles it from its attempts
        # holds this lock too, so either sees this response or has settled before it is recorded.
        deletion = Deletion.objects.select_for_update(no_key=True).get(pk=attempt.deletion_id)
        was_ambiguous = deletion.attempts.filter(AMBIGUOUS).exclude(pk=attempt.pk).exists()
        _fill_in(attempt=attempt, answer=answer)
        attempt.answered_at = now
        attempt.is_late = deletion.epoch != attempt.epoch or deletion.state != State.SENDING
        if not attempt.is_late:
            to = _next(deletion=deletion, answer=answer, was_ambiguous=was_ambiguous)
            attempt.is_late = not _move_on(
                deletion=deletion, answer=answer, to=to, actor=actor, now=now, kept_at=kept_at
            )
        # Once, when all of it is known: the database lets nobody change it afterwards.
        attempt.save()
        if attempt.is_late:
            _look_soon(deletion=deletion, answer=answer, now=now)
            audit.record(
                code=audit.EventCode.DELETION_ANSWERED_LATE,
                actor=actor,
                subject=deletion,
                sentence=f"A late answer to attempt {attempt.number}: {response_summary(answer)}.",
                details=_details(answer, at=now, kept_at=kept_at) | {"attempt": attempt.number},
            )
        failpoints.hit(Point.INSIDE_RESULT, deletion_id=attempt.deletion_id)
    return True


def _look_soon(*, deletion: Deletion, answer: DeleteResponse, now: datetime) -> None:
    """After a late 200 one complete listing can settle it, so that is not left for an hour."""
    if answer.verdict == AttemptResult.DELETED:
        in_doubt = [State.UNKNOWN, State.STILL_PRESENT]
        Deletion.objects.filter(pk=deletion.pk, state__in=in_doubt).update(due_at=now)


def _details(
    answer: DeleteResponse, *, at: datetime, kept_at: datetime | None
) -> dict[str, object]:
    details: dict[str, object] = {
        "verdict": answer.verdict,
        "http_status": answer.http_status,
        "errors": list(answer.errors),
        "duration_ms": answer.duration_ms,
        "body_sha256": answer.body_sha256,
        "body_is_complete": answer.body_complete,
        "headers": answer.headers,
        # Not "cause", which is the deletion's.
        "response_cause": answer.cause or "",
        "answered_at": at.isoformat(),
    }
    return details | ({"kept_at": kept_at.isoformat()} if kept_at else {})


def _next(*, deletion: Deletion, answer: DeleteResponse, was_ambiguous: bool) -> Transition:
    return states.transition_for(
        verdict=answer.verdict,
        cause=answer.cause or "",
        retry_after_seconds=answer.retry_after_seconds,
        was_ambiguous=was_ambiguous,
        had_late_success=answer.verdict == AttemptResult.NOT_FOUND and deletion.has_late_success,
        times_not_sent=_times_not_sent(deletion) if answer.verdict == AttemptResult.NOT_SENT else 0,
    )


def _times_not_sent(deletion: Deletion) -> int:
    """How often the request could not leave since a person confirmed it, this time included.

    Told by the order of the record and not by times, for a clock may be set back.
    """
    codes = [event.code for event in audit.events_of(subject=deletion)]
    newest_first = takewhile(
        lambda code: code != audit.EventCode.DELETION_CONFIRMED, reversed(codes)
    )
    tries = sum(code == audit.EventCode.DELETION_SENDING for code in newest_first)
    since = deletion.attempts.filter(epoch__gt=deletion.epoch - tries)
    # This time's verdict is stored only when what follows from it is known.
    return since.filter(verdict=AttemptResult.NOT_SENT).count() + 1


def _move_on(
    *,
    deletion: Deletion,
    answer: DeleteResponse,
    to: Transition,
    actor: Actor,
    now: datetime,
    kept_at: datetime | None,
) -> bool:
    values: dict[str, object] = {}
    if to.state == State.WAITING:
        expires_at = (deletion.confirmed_at or now) + states.SENDING_WINDOW
        values["due_at"] = min(now + timedelta(seconds=to.wait_seconds or 60), expires_at)
        values["expires_at"] = expires_at
    elif to.state == State.UNKNOWN:
        sending_at = deletion.sending_at or now
        values["due_at"] = states.next_check_at(sending_at=sending_at, now=now)
    code = {
        State.SETTLED: audit.EventCode.DELETION_SETTLED,
        State.WAITING: audit.EventCode.DELETION_WAITING,
        State.UNKNOWN: audit.EventCode.DELETION_UNKNOWN,
    }[to.state]
    answered = EventDraft(
        code=audit.EventCode.DELETION_ANSWERED,
        sentence=f"{response_summary(answer)} ({deletion.description}).",
        details=_details(answer, at=now, kept_at=kept_at),
    )
    sentence = _became(deletion, to=to)
    return states.apply(
        deletion=deletion,
        actor=actor,
        to=to,
        notes=[answered, EventDraft(code=code, sentence=sentence)],
        **values,
    )


def _became(deletion: Deletion, *, to: Transition) -> str:
    """What became of it, for the record. Its attempts are stored already, this one included."""
    if to.outcome != Outcome.NOT_SENT:
        become = to.outcome or to.state
        return f"{deletion.description}: {become.replace('_', ' ')}."
    return (
        f"{deletion.description}: gave up, {to.cause.replace('_', ' ')}. "
        f"{attempt_facts.in_full_of(deletion)}"
    )


def response_summary(answer: DeleteResponse) -> str:
    """What came back, as a sentence without its full stop."""
    if answer.http_status is not None:
        return f"Datadog answered {answer.http_status} in {answer.duration_ms} ms"
    if answer.verdict == AttemptResult.NOT_SENT:
        return f"The request could not leave: {(answer.cause or '').replace('_', ' ')}"
    return f"No answer: {(answer.cause or '').replace('_', ' ')} after {answer.duration_ms} ms"


def _error_of(answer: DeleteResponse, *, at: str) -> dict[str, object] | None:
    if answer.verdict in {AttemptResult.DELETED, AttemptResult.NOT_FOUND}:
        return None
    return {
        "at": at,
        "cause": answer.cause or "",
        "http_status": answer.http_status,
        "errors": list(answer.errors),
    }


def _fill_in(*, attempt: Attempt, answer: DeleteResponse) -> None:
    attempt.verdict = answer.verdict
    attempt.cause = answer.cause or ""
    attempt.duration_ms = answer.duration_ms
    attempt.http_status = answer.http_status
    attempt.headers = answer.headers
    attempt.body = answer.body
    attempt.body_sha256 = answer.body_sha256
    attempt.body_is_complete = answer.body_complete
    attempt.errors = list(answer.errors)
