"""What must not be overlooked on a deletion, beside its state and outcome."""

from collections.abc import Iterable

from connections.core.times import format_time
from connections.datadog.errors import AttemptResult
from connections.models import Attempt
from connections.wording.causes import cause_text


def late_answers(attempts: Iterable[Attempt]) -> tuple[str, ...]:
    """A sentence for each response that came after Org Admin stopped waiting for it."""
    return tuple(_late(attempt) for attempt in attempts if attempt.is_late)


def _late(attempt: Attempt) -> str:
    when = f"A late response to attempt {attempt.number}, at {format_time(attempt.answered_at)}"
    if attempt.http_status is not None:
        said = f"Datadog answered {attempt.http_status}."
    elif attempt.verdict == AttemptResult.NOT_SENT:
        said = f"The request did not leave. {cause_text(attempt.cause)}"
    else:
        said = cause_text(attempt.cause)
    return f"{when}. {said} Org Admin had stopped waiting for it."
