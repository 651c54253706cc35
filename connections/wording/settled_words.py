"""What is said of a deletion that has its outcome."""

from collections.abc import Callable
from typing import Any

from connections.datadog.errors import Cause as DatadogCause
from connections.models import Attempt, Cause, Deletion, Outcome
from connections.wording.badges import REFUSED_STATUS
from connections.wording.causes import cause_words
from connections.wording.effects import names_in_words
from connections.wording.said import Said, attempt_words, quotes_of
from connections.wording.steps import Step
from connections.wording.times import at_words


def say(*, deletion: Deletion, last: Attempt | None, seen_by: str) -> Said:
    """The words for a settled deletion."""
    if deletion.contradicted_at:
        return _contradicted(deletion, last=last, seen_by=seen_by)
    return _SAY[Outcome(deletion.outcome)](deletion, last)


_CONTRADICTED = {
    Outcome.DELETED: "Datadog said deleted, but still lists it.",
    Outcome.ALREADY_ABSENT: "Datadog found no such connection, but still lists it.",
    Outcome.GONE_UNATTRIBUTED: "It was gone, but Datadog lists it again.",
}


def _contradicted(deletion: Deletion, *, last: Attempt | None, seen_by: str) -> Said:
    by = seen_by or "one of our credentials"
    if deletion.looked_present is False:
        return Said(
            headline="Datadog listed it again after this, and does not list it now.",
            lines=(
                f"Listed by {by} at {at_words(deletion.contradicted_at)}; absent from a complete "
                f"list at {at_words(deletion.looked_at)}.",
                attempt_words(last),
            ),
            quotes=quotes_of(last),
            steps=(Step.CHECK, Step.SEE_CONNECTION),
        )
    headline = _CONTRADICTED.get(Outcome(deletion.outcome), "Datadog lists it all the same.")
    return Said(
        headline=headline,
        lines=(
            f"Listed by {by} at {at_words(deletion.contradicted_at)}. It may be slow, or be back.",
            attempt_words(last),
        ),
        quotes=quotes_of(last),
        steps=(Step.CHECK, Step.SEE_CONNECTION),
    )


def _deleted(deletion: Deletion, last: Attempt | None) -> Said:
    answered = attempt_words(last)
    if deletion.verified_at:
        return Said(
            headline="Deleted, and gone from Datadog’s list.",
            lines=(answered, f"Absent from the list at {at_words(deletion.verified_at)}."),
            steps=(Step.SEE_HISTORY, Step.SEE_CONNECTION),
        )
    if deletion.due_at:
        checking = f"Checking that it is gone: we look again at {at_words(deletion.due_at)}."
    else:
        checking = "No complete listing has shown yet that it is gone."
    return Said(
        headline="Datadog says it is deleted (200).",
        lines=(answered, checking, _last_look(deletion)),
        steps=(Step.CHECK,),
    )


def _last_look(deletion: Deletion) -> str:
    look = deletion.cause_details.get("last_look")
    if not look:
        return ""
    if look["found"] == "listed":
        return "The last look found it still listed; Datadog’s list may be a little behind."
    return f"The last look could not tell. {cause_words(look.get('cause') or '')}".strip()


def _already_absent(deletion: Deletion, last: Attempt | None) -> Said:
    if deletion.cause == Cause.ABSENT_WHEN_READ and not deletion.is_reviewed:
        return Said(
            headline="It is not in Datadog’s list. Nothing was sent.",
            lines=(
                f"A complete list of {deletion.credential_name} does not hold this id. It is gone, "
                "or it is not one of that org’s connections.",
            ),
            steps=(Step.SEE_CONNECTION,),
        )
    if deletion.cause == Cause.ABSENT_WHEN_READ:
        seen = f"Last seen at {at_words(deletion.snapshot_at)}." if deletion.snapshot_at else ""
        return Said(
            headline="It was already gone. Nothing was sent.",
            lines=(cause_words(deletion.cause), seen),
            steps=(Step.SEE_CONNECTION,),
        )
    return Said(
        headline="Datadog found no such connection (404).",
        lines=(
            "Not deleted by this request. It was gone already, or it is not a connection of "
            f"{deletion.credential_name}.",
            attempt_words(last),
        ),
        quotes=quotes_of(last),
        steps=(Step.SEE_CONNECTION,),
    )


def _gone(deletion: Deletion, last: Attempt | None) -> Said:
    del last
    return Said(
        headline="It is gone, and we cannot prove that we did it.",
        lines=(
            "Our request was probably carried out; its answer was lost.",
            cause_words(deletion.cause),
        ),
        steps=(Step.SEE_CONNECTION,),
    )


_REFUSED = {
    DatadogCause.BAD_REQUEST: (
        "Datadog refused the request (400). Nothing was deleted.",
        "Datadog calls the request malformed. Its own words say why.",
        (Step.TRY_AGAIN,),
    ),
    DatadogCause.UNAUTHORIZED: (
        "Datadog does not accept this key pair (401). Nothing was deleted.",
        "A key was mistyped, revoked, or its owner disabled.",
        (Step.OPEN_CREDENTIAL, Step.TRY_AGAIN),
    ),
    DatadogCause.FORBIDDEN: (
        "This key pair may not delete it (403). Nothing was deleted.",
        "It needs org_connections_write in the role and in the key’s scopes; a restriction on "
        "the connection, or a key of another site, gives the same answer.",
        (Step.OPEN_CREDENTIAL, Step.TRY_AGAIN),
    ),
}


def _refused(deletion: Deletion, last: Attempt | None) -> Said:
    if deletion.cause in REFUSED_STATUS:
        headline, meaning, steps = _REFUSED[DatadogCause(deletion.cause)]
    else:
        headline, meaning = "Datadog refused the request. Nothing was deleted.", ""
        steps = (Step.TRY_AGAIN,)
    return Said(
        headline=headline,
        lines=(meaning, attempt_words(last)),
        quotes=quotes_of(last),
        steps=steps,
    )


def _not_sent(deletion: Deletion, last: Attempt | None) -> Said:
    return Said(
        headline="Nothing was sent.",
        lines=(cause_words(deletion.cause), attempt_words(last)),
        steps=(Step.ASK_AGAIN,),
    )


def _stale(deletion: Deletion, last: Attempt | None) -> Said:
    del last
    was = _connection_words(
        deletion.source_org_name, deletion.sink_org_name, deletion.connection_types
    )
    now: dict[str, Any] = deletion.cause_details.get("now_says") or {}
    lines = [f"Was: {was}."]
    if now:
        says = _connection_words(
            now["source_org_name"], now["sink_org_name"], now["connection_types"]
        )
        lines.append(f"Now: {says}.")
    return Said(
        headline="It changed since you looked. Nothing was sent.",
        lines=tuple(lines),
        steps=(Step.REVIEW_AGAIN,),
    )


def _connection_words(source: str, sink: str, types: list[str]) -> str:
    if not source and not sink:
        return "not known"
    return f"{source or '?'} → {sink or '?'}: {names_in_words(types) or 'no types'}"


def _by_person(deletion: Deletion, *, act: str, then: str, steps: tuple[Step, ...]) -> Said:
    reason = f"“{deletion.settled_reason}”" if deletion.settled_reason else ""
    by = deletion.settled_by_name or "a person"
    return Said(
        headline=f"{act} by {by}{then}",
        lines=(reason, cause_words(deletion.cause), f"At {at_words(deletion.settled_at)}."),
        steps=steps,
    )


def _declined(deletion: Deletion, last: Attempt | None) -> Said:
    del last
    then = ". Nothing was sent."
    return _by_person(deletion, act="Declined", then=then, steps=(Step.ASK_AGAIN,))


def _withdrawn(deletion: Deletion, last: Attempt | None) -> Said:
    # A 429 or a failed connection may have come before it: nothing was deleted by any of them.
    then = ". Nothing was deleted." if last else ". Nothing was sent."
    return _by_person(deletion, act="Withdrawn", then=then, steps=(Step.ASK_AGAIN,))


def _expired(deletion: Deletion, last: Attempt | None) -> Said:
    del last
    return Said(
        headline="It expired. Nothing was sent.",
        lines=(cause_words(deletion.cause), f"At {at_words(deletion.settled_at)}."),
        steps=(Step.ASK_AGAIN,),
    )


def _unresolved(deletion: Deletion, last: Attempt | None) -> Said:
    del last
    return _by_person(
        deletion, act="Closed", then=" without knowing.", steps=(Step.SEE_CONNECTION,)
    )


_SAY: dict[Outcome, Callable[[Deletion, Attempt | None], Said]] = {
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
