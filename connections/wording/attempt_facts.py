"""What a sentence can claim about a deletion, from its recorded attempts.

Every sentence that says whether something was sent or deleted takes that claim from here, so that
none contradicts an attempt. The wording is fixed: “Nothing was sent” only if no attempt left this
server, “Nothing was deleted” only if Datadog refused every one that did. connections/verifier/
verify.py, which stands alone, has the same rules for the rows of a bundle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from connections.core.text import format_time
from connections.datadog.responses import AttemptResult
from connections.models import Attempt, Deletion
from connections.wording.causes import cause_text
from connections.wording.next_steps import NextStep


class Sent(IntEnum):
    """What came of the attempts so far; of several, the highest applies to them together."""

    NOTHING = 0  # no attempt, or none that left this server
    REFUSED = 1  # Datadog refused, rate limited or did not find: nothing was deleted
    UNCERTAIN = 2  # no usable response: it might have worked
    DELETED = 3  # Datadog returned 200


_OF_RESULT = {
    AttemptResult.NOT_SENT: Sent.NOTHING,
    AttemptResult.RATE_LIMITED: Sent.REFUSED,
    AttemptResult.REFUSED: Sent.REFUSED,
    AttemptResult.NOT_FOUND: Sent.REFUSED,
    AttemptResult.DELETED: Sent.DELETED,
}


def sent_by(attempts: Iterable[Attempt]) -> Sent:
    """What came of these attempts together. One without a response might have worked."""
    return max((_sent_by_one(attempt) for attempt in attempts), default=Sent.NOTHING)


def _sent_by_one(attempt: Attempt) -> Sent:
    return _OF_RESULT.get(AttemptResult(attempt.verdict or AttemptResult.AMBIGUOUS), Sent.UNCERTAIN)


def attempts_of(deletion: Deletion) -> list[Attempt]:
    """Its attempts, read from the database again even if prefetched."""
    return list(Attempt.objects.filter(deletion=deletion).order_by("number"))


def nothing_new(attempts: Iterable[Attempt], *, so_far: bool = False) -> str:
    """The sentence that nothing was sent this time. `so_far`: the deletion can still be sent."""
    was = "has been" if so_far else "was"
    if sent_by(attempts) == Sent.NOTHING:
        return f"Nothing {was} sent."
    return f"No new DELETE {was} sent."


def nothing_new_of(deletion: Deletion) -> str:
    """The same for an action on this deletion that was refused or failed."""
    return nothing_new(attempts_of(deletion))


def at_the_end(attempts: Sequence[Attempt]) -> str:
    """The sentence for a deletion that ends without another attempt."""
    if sent_by(attempts) == Sent.REFUSED:
        return "Nothing was deleted."
    return nothing_new(attempts)


def nothing_deleted(attempts: Iterable[Attempt]) -> str:
    """“Nothing was deleted.”; empty where an attempt might have worked."""
    return "Nothing was deleted." if sent_by(attempts) <= Sent.REFUSED else ""


def earlier_attempts(attempts: Iterable[Attempt]) -> str:
    """ "Attempt 1 returned 429. Attempt 2 might have worked." Empty where none left this server."""
    by_result: dict[str, list[int]] = {}
    for attempt in attempts:
        sent = _sent_by_one(attempt)
        if sent != Sent.NOTHING:
            by_result.setdefault(_result_of(attempt, sent), []).append(attempt.number)
    return " ".join(f"{_numbered(found)} {result}." for result, found in by_result.items())


def _result_of(attempt: Attempt, sent: Sent) -> str:
    if sent == Sent.UNCERTAIN:
        return "might have worked"
    return f"returned {attempt.http_status}" + (" late" if attempt.is_late else "")


def _numbered(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"Attempt {numbers[0]}"
    if len(numbers) == 2:
        return f"Attempts {numbers[0]} and {numbers[1]}"
    return f"{len(numbers)} attempts"


def in_full(attempts: Sequence[Attempt]) -> str:
    """ "Nothing was sent.", or "No new DELETE was sent." and what the earlier attempts did."""
    return f"{nothing_new(attempts)} {earlier_attempts(attempts)}".strip()


def in_full_of(deletion: Deletion) -> str:
    """The same for this deletion, from what the database has now."""
    return in_full(attempts_of(deletion))


@dataclass(frozen=True, kw_only=True)
class DeletionFacts:
    """Headline, lines, quotes from Datadog, and possible next steps."""

    headline: str
    lines: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    steps: tuple[NextStep, ...] = ()


def quotes_of(last: Attempt | None) -> tuple[str, ...]:
    """Datadog's error texts of the last attempt."""
    return tuple(str(text) for text in last.errors) if last else ()


def attempt_text(last: Attempt | None) -> str:
    """ "Datadog answered 200 in 143 ms at …, attempt 1.", or what happened instead.

    A late response is marked as late.
    """
    if last is None or last.answered_at is None:
        return ""
    late = ", late" if last.is_late else ""
    when = f"at {format_time(last.answered_at)}, attempt {last.number}{late}."
    if last.http_status is not None:
        return f"Datadog answered {last.http_status} in {last.duration_ms} ms {when}"
    return f"{cause_text(last.cause).rstrip('.')}, after {last.duration_ms} ms {when}"
