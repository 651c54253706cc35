"""Texts for settled deletions."""

from collections.abc import Callable
from typing import Any

from connections.core.causes import Cause
from connections.core.text import format_time
from connections.datadog.responses import AttemptResult
from connections.models import Attempt, Deletion, Outcome
from connections.wording import attempt_facts
from connections.wording.attempt_facts import DeletionFacts, Sent, attempt_text, quotes_of
from connections.wording.badges import REFUSED_STATUS
from connections.wording.causes import cause_text
from connections.wording.connections import join_names
from connections.wording.next_steps import NextStep


def text_for(*, deletion: Deletion, attempts: list[Attempt], seen_by: str) -> DeletionFacts:
    """The text for a settled deletion."""
    if deletion.contradicted_at:
        return _contradicted(deletion, last=_deciding_attempt(attempts), seen_by=seen_by)
    return _TEXTS[Outcome(deletion.outcome)](deletion, attempts)


def _deciding_attempt(attempts: list[Attempt]) -> Attempt | None:
    """The attempt whose response decided it: the last one, or one to which Datadog returned 200."""
    deleted = [attempt for attempt in attempts if attempt.verdict == AttemptResult.DELETED]
    return _last(deleted or attempts)


_CONTRADICTED = {
    Outcome.DELETED: "Datadog said deleted, but still lists it.",
    Outcome.ALREADY_ABSENT: "Datadog found no such connection, but still lists it.",
    Outcome.GONE_UNATTRIBUTED: "It was gone, but Datadog lists it again.",
}


def _contradicted(deletion: Deletion, *, last: Attempt | None, seen_by: str) -> DeletionFacts:
    by = seen_by or "one of our credentials"
    if deletion.last_check_listed is False:
        return DeletionFacts(
            headline="Datadog listed it again after this, and does not list it now.",
            lines=(
                f"Listed by {by} at {format_time(deletion.contradicted_at)}; "
                "absent from a complete "
                f"list at {format_time(deletion.last_checked_at)}.",
                attempt_text(last),
            ),
            quotes=quotes_of(last),
            steps=(NextStep.CHECK, NextStep.SEE_CONNECTION),
        )
    headline = _CONTRADICTED.get(Outcome(deletion.outcome), "Datadog lists it all the same.")
    return DeletionFacts(
        headline=headline,
        lines=(
            f"Listed by {by} at {format_time(deletion.contradicted_at)}. "
            "It may be slow, or be back.",
            attempt_text(last),
        ),
        quotes=quotes_of(last),
        steps=(NextStep.CHECK, NextStep.SEE_CONNECTION),
    )


def _deleted(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    answered = attempt_text(_deciding_attempt(attempts))
    if deletion.verified_at:
        return DeletionFacts(
            headline="Deleted, and gone from Datadog’s list.",
            lines=(answered, f"Absent from the list at {format_time(deletion.verified_at)}."),
            steps=(NextStep.SEE_HISTORY, NextStep.SEE_CONNECTION),
        )
    if deletion.due_at:
        checking = f"Checking that it is gone: we look again at {format_time(deletion.due_at)}."
    else:
        checking = "No complete listing has shown yet that it is gone."
    return DeletionFacts(
        headline="Datadog says it is deleted (200).",
        lines=(answered, checking, _last_check(deletion)),
        steps=(NextStep.CHECK,),
    )


def _last_check(deletion: Deletion) -> str:
    look = deletion.cause_details.get("last_look")
    if not look:
        return ""
    if look["found"] == "listed":
        return "The last look found it still listed; Datadog’s list may be a little behind."
    return f"The last look could not tell. {cause_text(look.get('cause') or '')}".strip()


def _already_absent(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    earlier = attempt_facts.earlier_attempts(attempts)
    nothing_new = attempt_facts.nothing_new(attempts)
    if deletion.cause == Cause.ABSENT_WHEN_READ and not deletion.is_reviewed:
        return DeletionFacts(
            headline=f"It is not in Datadog’s list. {nothing_new}",
            lines=(
                f"A complete list of {deletion.credential_name} does not hold this id. It is gone, "
                "or it is not one of that org’s connections.",
                earlier,
            ),
            steps=(NextStep.SEE_CONNECTION,),
        )
    if deletion.cause == Cause.ABSENT_WHEN_READ:
        seen = f"Last seen at {format_time(deletion.snapshot_at)}." if deletion.snapshot_at else ""
        return DeletionFacts(
            headline=f"{'It is gone.' if earlier else 'It was already gone.'} {nothing_new}",
            lines=(cause_text(deletion.cause), earlier, seen),
            steps=(NextStep.SEE_CONNECTION,),
        )
    return DeletionFacts(
        headline="Datadog found no such connection (404).",
        lines=(
            _not_by_this_request(deletion, attempts),
            attempt_text(_last(attempts)),
        ),
        quotes=quotes_of(_last(attempts)),
        steps=(NextStep.SEE_CONNECTION,),
    )


def _not_by_this_request(deletion: Deletion, attempts: list[Attempt]) -> str:
    if attempt_facts.sent_by(attempts) > Sent.REFUSED:
        return attempt_facts.earlier_attempts(attempts)
    return (
        "Not deleted by this request. It was gone already, or it is not a connection of "
        f"{deletion.credential_name}."
    )


def _last(attempts: list[Attempt]) -> Attempt | None:
    return attempts[-1] if attempts else None


_GONE = {
    Sent.DELETED: "It is gone, and Datadog returned 200.",
    Sent.UNCERTAIN: "It is gone, and we cannot prove that we did it.",
}


def _gone(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    nothing_recorded = "It is gone. No recorded attempt shows that this request deleted it."
    return DeletionFacts(
        headline=_GONE.get(attempt_facts.sent_by(attempts), nothing_recorded),
        lines=(attempt_facts.earlier_attempts(attempts), cause_text(deletion.cause)),
        steps=(NextStep.SEE_CONNECTION,),
    )


_REFUSED = {
    Cause.BAD_REQUEST: (
        "Datadog refused the request (400).",
        "Datadog calls the request malformed. Its own words say why.",
        (NextStep.TRY_AGAIN,),
    ),
    Cause.UNAUTHORIZED: (
        "Datadog does not accept this key pair (401).",
        "A key was mistyped, revoked, or its owner disabled.",
        (NextStep.OPEN_CREDENTIAL, NextStep.TRY_AGAIN),
    ),
    Cause.FORBIDDEN: (
        "This key pair may not delete it (403).",
        "It needs org_connections_write in the role and in the key’s scopes; a restriction on "
        "the connection, or a key of another site, gives the same answer.",
        (NextStep.OPEN_CREDENTIAL, NextStep.TRY_AGAIN),
    ),
}


def _refused(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    last = _last(attempts)
    if deletion.cause in REFUSED_STATUS:
        headline, meaning, steps = _REFUSED[Cause(deletion.cause)]
    else:
        headline, meaning = "Datadog refused the request.", ""
        steps = (NextStep.TRY_AGAIN,)
    nothing_deleted = attempt_facts.nothing_deleted(attempts)
    uncertain = "" if nothing_deleted else attempt_facts.earlier_attempts(attempts)
    return DeletionFacts(
        headline=f"{headline} {nothing_deleted}".strip(),
        lines=(uncertain, meaning, attempt_text(last)),
        quotes=quotes_of(last),
        steps=steps,
    )


def _not_sent(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    sent = attempt_facts.sent_by(attempts)
    deleted = " Nothing was deleted." if sent == Sent.REFUSED else ""
    return DeletionFacts(
        headline=f"{attempt_facts.nothing_new(attempts)}{deleted}",
        lines=(
            cause_text(deletion.cause),
            attempt_facts.earlier_attempts(attempts),
            attempt_text(_last(attempts)),
        ),
        steps=(NextStep.ASK_AGAIN,),
    )


def _stale(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    was = _connection_text(
        deletion.source_org_name, deletion.sink_org_name, deletion.connection_types
    )
    now: dict[str, Any] = deletion.cause_details.get("now_says") or {}
    lines = [f"Was: {was}."]
    if now:
        says = _connection_text(
            now["source_org_name"], now["sink_org_name"], now["connection_types"]
        )
        lines.append(f"Now: {says}.")
    lines.append(attempt_facts.earlier_attempts(attempts))
    return DeletionFacts(
        headline=f"It changed since you looked. {attempt_facts.nothing_new(attempts)}",
        lines=tuple(lines),
        steps=(NextStep.REVIEW_AGAIN,),
    )


def _connection_text(source: str, sink: str, types: list[str]) -> str:
    if not source and not sink:
        return "not known"
    return f"{source or '?'} → {sink or '?'}: {join_names(types) or 'no types'}"


def _by_person(
    deletion: Deletion, attempts: list[Attempt], *, act: str, then: str, steps: tuple[NextStep, ...]
) -> DeletionFacts:
    reason = f"“{deletion.settled_reason}”" if deletion.settled_reason else ""
    by = deletion.settled_by_name or "a person"
    return DeletionFacts(
        headline=f"{act} by {by}{then}",
        lines=(
            reason,
            cause_text(deletion.cause),
            attempt_facts.earlier_attempts(attempts),
            f"At {format_time(deletion.settled_at)}.",
        ),
        steps=steps,
    )


def _declined(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    then = f". {attempt_facts.at_the_end(attempts)}"
    return _by_person(deletion, attempts, act="Declined", then=then, steps=(NextStep.ASK_AGAIN,))


def _withdrawn(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    then = f". {attempt_facts.at_the_end(attempts)}"
    return _by_person(deletion, attempts, act="Withdrawn", then=then, steps=(NextStep.ASK_AGAIN,))


def _expired(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    return DeletionFacts(
        headline=f"It expired. {attempt_facts.at_the_end(attempts)}",
        lines=(
            cause_text(deletion.cause),
            attempt_facts.earlier_attempts(attempts),
            f"At {format_time(deletion.settled_at)}.",
        ),
        steps=(NextStep.ASK_AGAIN,),
    )


def _unresolved(deletion: Deletion, attempts: list[Attempt]) -> DeletionFacts:
    then = " without knowing."
    return _by_person(deletion, attempts, act="Closed", then=then, steps=(NextStep.SEE_CONNECTION,))


_TEXTS: dict[Outcome, Callable[[Deletion, list[Attempt]], DeletionFacts]] = {
    Outcome.DELETED: _deleted,
    Outcome.ALREADY_ABSENT: _already_absent,
    Outcome.GONE_UNATTRIBUTED: _gone,
    Outcome.REFUSED: _refused,
    Outcome.NOT_SENT: _not_sent,
    Outcome.STALE: _stale,
    Outcome.DECLINED: _declined,
    Outcome.WITHDRAWN: _withdrawn,
    Outcome.EXPIRED: _expired,
    Outcome.UNRESOLVED: _unresolved,
}
