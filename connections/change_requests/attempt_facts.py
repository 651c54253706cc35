"""What the recorded attempts of a request led to, in sentences.

Every sentence that says whether something was sent takes that from here, so that none contradicts
an attempt. “Nothing was sent” only if no attempt left this server. connections/verifier/rules.py
says what attempts led to, here and for the rows of a bundle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from connections.core.causes import cause_text
from connections.core.errors import ResponseLocation, ResponseNotRecordedError
from connections.core.text import format_time
from connections.datadog.responses import AttemptResult
from connections.models import AttemptFields, ChangeRequest
from connections.verifier import rules
from connections.verifier.rules import Sent


def sent_by(attempts: Iterable[AttemptFields]) -> Sent:
    """What these attempts led to together."""
    return rules.sent_by(attempt.verdict for attempt in attempts)


def attempts_of(change_request: ChangeRequest) -> list[AttemptFields]:
    """The request's attempts, read from the database again even if prefetched."""
    return list(change_request.attempts.order_by("number"))


def not_sent_sentence(attempts: Sequence[AttemptFields]) -> str:
    """The sentence saying that nothing was sent this time."""
    if sent_by(attempts) == Sent.NOTHING:
        return "Nothing was sent."
    return f"No new {attempts[-1].method} was sent."


def not_sent_sentence_of(change_request: ChangeRequest) -> str:
    """`not_sent_sentence` for an action on this request that was refused or failed."""
    return not_sent_sentence(attempts_of(change_request))


def earlier_attempts(
    attempts: Iterable[AttemptFields], *, last: AttemptFields | None = None
) -> str:
    """What each attempt did: "Attempts 1 and 2 returned 429."

    Those of another method than the `last` one are named by it: "The DELETE returned 200." Empty if
    no attempt left this server.
    """
    by_result: dict[tuple[str, str], list[int]] = {}
    for attempt in attempts:
        sent = sent_by([attempt])
        if sent != Sent.NOTHING:
            method = attempt.method if last and attempt.method != last.method else ""
            by_result.setdefault((method, _result_of(attempt, sent)), []).append(attempt.number)
    return " ".join(
        f"{f'The {method}' if method else _numbered(numbers)} {result}."
        for (method, result), numbers in by_result.items()
    )


def _result_of(attempt: AttemptFields, sent: Sent) -> str:
    if sent == Sent.UNCERTAIN:
        return "might have worked"
    return f"returned {attempt.http_status}" + (" late" if attempt.is_late else "")


def _numbered(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"Attempt {numbers[0]}"
    if len(numbers) == 2:
        return f"Attempts {numbers[0]} and {numbers[1]}"
    return f"{len(numbers)} attempts"


def attempts_summary(attempts: Sequence[AttemptFields]) -> str:
    """ "Nothing was sent.", or "No new DELETE was sent." and what the earlier attempts did."""
    return f"{not_sent_sentence(attempts)} {earlier_attempts(attempts)}".strip()


def attempts_summary_of(change_request: ChangeRequest) -> str:
    """`attempts_summary` for this request, from what the database has now."""
    return attempts_summary(attempts_of(change_request))


def response_facts(attempt: AttemptFields | None, *, now: datetime | None) -> tuple[str, ...]:
    """("200 OK in 143 ms", "16:58:04 UTC", "attempt 1"), or what happened instead.

    A time of another day than `now` has its date. Empty without an attempt, and for an attempt
    without a response.
    """
    if attempt is None or attempt.answered_at is None:
        return ()
    late = ", late" if attempt.is_late else ""
    at = format_time(attempt.answered_at, today=now)
    return response_text(attempt), at, f"attempt {attempt.number}{late}"


_STATUS_NAMES = {status.value: status.phrase for status in HTTPStatus}


def response_text(attempt: AttemptFields) -> str:
    """ "200 OK in 143 ms", or what happened instead."""
    ms = attempt.duration_ms or 0
    took = f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
    if attempt.http_status is None:
        return f"{cause_text(attempt.cause).removesuffix('.')} after {took}"
    name = _STATUS_NAMES.get(attempt.http_status, "")
    return f"{attempt.http_status} {name}".strip() + f" in {took}"


def late_response_texts(attempts: Iterable[AttemptFields]) -> tuple[str, ...]:
    """A sentence for each response that arrived after Org Admin had stopped waiting for it."""
    return tuple(_late_response_text(attempt) for attempt in attempts if attempt.is_late)


def _late_response_text(attempt: AttemptFields) -> str:
    if attempt.http_status is not None:
        result = f"Datadog returned {attempt.http_status}."
    elif attempt.verdict == AttemptResult.NOT_SENT:
        result = f"The request didn't leave this server. {cause_text(attempt.cause)}"
    else:
        result = cause_text(attempt.cause)
    return (
        f"Late response to attempt {attempt.number} at {format_time(attempt.answered_at)}, after "
        f"Org Admin had stopped waiting for it. {result}"
    )


@dataclass(frozen=True, kw_only=True)
class BannerText:
    """What the page says instead of the request's status."""

    headline: str
    lines: tuple[str, ...]


_NOT_RECORDED = {
    ResponseLocation.LOCALLY: (
        "Saved on this server, waiting for the database.",
        "The response is safe in a file and is recorded when the database is back.",
    ),
    ResponseLocation.NOWHERE: (
        "Sent, but the response couldn't be saved.",
        "Copy it now: the attempt is recorded, but its response isn't. Org Admin will check "
        "Datadog's list.",
    ),
}


def unrecorded_response_text(error: ResponseNotRecordedError) -> BannerText:
    """The banner for a response that was not recorded."""
    headline, then = _NOT_RECORDED[error.location]
    again = "Don't delete again." if error.noun == "deletion" else "Don't request it again."
    lines = (error.response_text, then, again)
    return BannerText(headline=headline, lines=lines)
