"""What the sentences of open and settled deletions have in common."""

from dataclasses import dataclass

from connections.core.times import format_time
from connections.models import Attempt
from connections.wording.causes import cause_text
from connections.wording.steps import NextStep


@dataclass(frozen=True, kw_only=True)
class DeletionFacts:
    """A headline, what stands under it, Datadog's own words, and what may come next."""

    headline: str
    lines: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    steps: tuple[NextStep, ...] = ()


def quotes_of(last: Attempt | None) -> tuple[str, ...]:
    """Datadog's own texts of the last attempt."""
    return tuple(str(text) for text in last.errors) if last else ()


def attempt_words(last: Attempt | None) -> str:
    """ "Datadog answered 200 in 143 ms at …, attempt 1." or what came instead of an answer.

    An answer that came late is called so.
    """
    if last is None or last.answered_at is None:
        return ""
    late = ", late" if last.is_late else ""
    when = f"at {format_time(last.answered_at)}, attempt {last.number}{late}."
    if last.http_status is not None:
        return f"Datadog answered {last.http_status} in {last.duration_ms} ms {when}"
    return f"{cause_text(last.cause).rstrip('.')}, after {last.duration_ms} ms {when}"
