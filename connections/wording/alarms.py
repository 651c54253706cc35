"""What must not be overlooked on a deletion, beside its state and outcome."""

from collections.abc import Iterable

from connections.core.times import at_words
from connections.datadog.errors import Verdict
from connections.models import Attempt
from connections.wording.causes import cause_words


def late_answers(attempts: Iterable[Attempt]) -> tuple[str, ...]:
    """A sentence for each response that came after Org Admin stopped waiting for it."""
    return tuple(_late(attempt) for attempt in attempts if attempt.is_late)


def _late(attempt: Attempt) -> str:
    when = f"A late response to attempt {attempt.number}, at {at_words(attempt.answered_at)}"
    if attempt.http_status is not None:
        said = f"Datadog answered {attempt.http_status}."
    elif attempt.verdict == Verdict.NOT_SENT:
        said = f"The request did not leave. {cause_words(attempt.cause)}"
    else:
        said = cause_words(attempt.cause)
    return f"{when}. {said} Org Admin had stopped waiting for it."
