"""Writing down what came back from one sending, and what follows from it."""

from datetime import timedelta

from django.db import transaction

from connections import clock
from connections.actors import Actor
from connections.datadog.client import Answer
from connections.datadog.errors import Verdict
from connections.models import AMBIGUOUS, Attempt, Credential, Deletion, State
from connections.services import audit, transitions
from connections.services.transitions import Next, Note, describe


def record_answer(*, attempt: Attempt, answer: Answer, actor: Actor) -> None:
    """Write what came back and move the deletion, if this claim still stands.

    An answer that comes after the deletion moved on is stored as late, with an alarm; it changes
    no state.
    """
    with transaction.atomic(durable=True):
        deletion = Deletion.objects.get(pk=attempt.deletion_id)
        now = clock.now()
        was_ambiguous = deletion.attempts.filter(AMBIGUOUS).exclude(pk=attempt.pk).exists()
        _fill_in(attempt=attempt, answer=answer)
        attempt.answered_at = now
        attempt.is_late = deletion.epoch != attempt.epoch or deletion.state != State.SENDING
        attempt.save()
        Credential.objects.filter(pk=deletion.credential_id).update(
            last_used_at=now, last_error=_error_of(answer, at=now.isoformat())
        )
        if not attempt.is_late:
            to = _next(deletion=deletion, answer=answer, was_ambiguous=was_ambiguous)
            attempt.is_late = not _move_on(deletion=deletion, answer=answer, to=to, actor=actor)
        if attempt.is_late:
            attempt.save(update_fields=["is_late"])
            audit.record(
                code=audit.Code.DELETION_ANSWERED_LATE,
                actor=actor,
                subject=deletion,
                sentence=f"A late answer to attempt {attempt.number}: {_in_words(answer)}.",
                details={"attempt": attempt.number, "verdict": answer.verdict},
            )


def _next(*, deletion: Deletion, answer: Answer, was_ambiguous: bool) -> Next:
    since = deletion.confirmed_at
    not_sent = deletion.attempts.filter(verdict=Verdict.NOT_SENT)
    return transitions.next_after_answer(
        verdict=answer.verdict,
        cause=answer.cause or "",
        retry_after_seconds=answer.retry_after_seconds,
        was_ambiguous=was_ambiguous,
        times_not_sent=not_sent.filter(claimed_at__gte=since).count() if since else 0,
    )


def _move_on(*, deletion: Deletion, answer: Answer, to: Next, actor: Actor) -> bool:
    now = clock.now()
    values: dict[str, object] = {}
    if to.state == State.WAITING:
        values["due_at"] = now + timedelta(seconds=to.wait_seconds or 60)
        values["expires_at"] = (deletion.confirmed_at or now) + transitions.SENDING_WINDOW
    elif to.state == State.UNKNOWN:
        sending_at = deletion.sending_at or now
        values["due_at"] = transitions.next_look(sending_at=sending_at, now=now)
    code = {
        State.SETTLED: audit.Code.DELETION_SETTLED,
        State.WAITING: audit.Code.DELETION_WAITING,
        State.UNKNOWN: audit.Code.DELETION_UNKNOWN,
    }[to.state]
    answered = Note(
        code=audit.Code.DELETION_ANSWERED,
        sentence=f"{_in_words(answer)} ({describe(deletion)}).",
        details={
            "verdict": answer.verdict,
            "http_status": answer.http_status,
            "errors": list(answer.errors),
            "duration_ms": answer.duration_ms,
            "body_sha256": answer.body_sha256,
        },
    )
    become = to.outcome or to.state
    sentence = f"{describe(deletion)}: {become.replace('_', ' ')}."
    return transitions.move(
        deletion=deletion,
        actor=actor,
        to=to,
        notes=[answered, Note(code=code, sentence=sentence)],
        **values,
    )


def _in_words(answer: Answer) -> str:
    if answer.http_status is not None:
        return f"Datadog answered {answer.http_status} in {answer.duration_ms} ms"
    if answer.verdict == Verdict.NOT_SENT:
        return f"The request could not leave: {(answer.cause or '').replace('_', ' ')}"
    return f"No answer: {(answer.cause or '').replace('_', ' ')} after {answer.duration_ms} ms"


def _error_of(answer: Answer, *, at: str) -> dict[str, object] | None:
    if answer.verdict in {Verdict.DELETED, Verdict.NOT_FOUND}:
        return None
    return {
        "at": at,
        "cause": answer.cause or "",
        "http_status": answer.http_status,
        "errors": list(answer.errors),
    }


def _fill_in(*, attempt: Attempt, answer: Answer) -> None:
    attempt.verdict = answer.verdict
    attempt.cause = answer.cause or ""
    attempt.duration_ms = answer.duration_ms
    attempt.http_status = answer.http_status
    attempt.headers = answer.headers
    attempt.body = answer.body
    attempt.body_sha256 = answer.body_sha256
    attempt.body_is_complete = answer.body_complete
    attempt.errors = list(answer.errors)
