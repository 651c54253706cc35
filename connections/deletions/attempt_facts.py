"""What a sentence can claim about a deletion, based on its recorded attempts.

Every sentence that says whether something was sent or deleted takes that claim from here, so that
none contradicts an attempt. The wording is fixed: “Nothing was sent” only if no attempt left this
server, “Nothing was deleted” only if Datadog refused every attempt that did.
connections/verifier/rules.py says what attempts led to, here and for the rows of a bundle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from http import HTTPStatus

from connections.core.causes import cause_text
from connections.core.errors import ResponseLocation, ResponseNotRecordedError
from connections.core.text import format_time
from connections.datadog.responses import AttemptResult
from connections.models import Attempt, Deletion
from connections.verifier import rules
from connections.verifier.rules import Sent

_NOTHING_DELETED = {Sent.NOTHING, Sent.REFUSED}


class Claim(Enum):
    """What a text says about the attempts: the sentence, which results make it true, what to say
    otherwise.
    """

    NOTHING_SENT = "Nothing was sent.", {Sent.NOTHING}, "No new DELETE was sent."
    NOTHING_SENT_YET = "Nothing has been sent.", {Sent.NOTHING}, "No new DELETE has been sent."
    DELETE_NOT_SENT_YET = (
        "The DELETE hasn't been sent yet.",
        {Sent.NOTHING},
        "No new DELETE has been sent.",
    )
    NOTHING_DELETED = "Nothing was deleted.", _NOTHING_DELETED, ""
    DELETED_NOTHING = "This request deleted nothing.", _NOTHING_DELETED, ""
    MIGHT_HAVE_WORKED = "The DELETE was sent and might have worked.", {Sent.UNCERTAIN}, ""
    RESPONSE_LOST = "The response was lost or unusable.", {Sent.UNCERTAIN}, ""


def claim_text(claim: Claim, *, sent: Sent | None) -> str:
    """The claim if it is true, or else what is true instead. Can be empty.

    `sent` is None if attempts were recorded but not read, so that no claim can be made.
    """
    sentence, true_of, otherwise = claim.value
    return sentence if sent in true_of else otherwise


def sent_by(attempts: Iterable[Attempt]) -> Sent:
    """What these attempts led to together."""
    return rules.sent_by(attempt.verdict for attempt in attempts)


def attempts_of(deletion: Deletion) -> list[Attempt]:
    """The deletion's attempts, read from the database again even if prefetched."""
    return list(Attempt.objects.filter(deletion=deletion).order_by("number"))


def not_sent_sentence(attempts: Iterable[Attempt]) -> str:
    """The sentence saying that nothing was sent this time."""
    return claim_text(Claim.NOTHING_SENT, sent=sent_by(attempts))


def not_sent_sentence_of(deletion: Deletion) -> str:
    """`not_sent_sentence` for an action on this deletion that was refused or failed."""
    return not_sent_sentence(attempts_of(deletion))


def earlier_attempts(attempts: Iterable[Attempt]) -> str:
    """What each attempt did: "Attempts 1 and 2 returned 429."

    Empty if no attempt left this server.
    """
    by_result: dict[str, list[int]] = {}
    for attempt in attempts:
        sent = sent_by([attempt])
        if sent != Sent.NOTHING:
            by_result.setdefault(_result_of(attempt, sent), []).append(attempt.number)
    return " ".join(f"{_numbered(numbers)} {result}." for result, numbers in by_result.items())


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


def attempts_summary(attempts: Sequence[Attempt]) -> str:
    """ "Nothing was sent.", or "No new DELETE was sent." and what the earlier attempts did."""
    return f"{not_sent_sentence(attempts)} {earlier_attempts(attempts)}".strip()


def attempts_summary_of(deletion: Deletion) -> str:
    """`attempts_summary` for this deletion, from what the database has now."""
    return attempts_summary(attempts_of(deletion))


def response_facts(attempt: Attempt | None, *, now: datetime | None) -> tuple[str, ...]:
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


def response_text(attempt: Attempt) -> str:
    """ "200 OK in 143 ms", or what happened instead."""
    ms = attempt.duration_ms or 0
    took = f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
    if attempt.http_status is None:
        return f"{cause_text(attempt.cause).removesuffix('.')} after {took}"
    name = _STATUS_NAMES.get(attempt.http_status, "")
    return f"{attempt.http_status} {name}".strip() + f" in {took}"


def late_response_texts(attempts: Iterable[Attempt]) -> tuple[str, ...]:
    """A sentence for each response that arrived after Org Admin had stopped waiting for it."""
    return tuple(_late_response_text(attempt) for attempt in attempts if attempt.is_late)


def _late_response_text(attempt: Attempt) -> str:
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
    """What the page says instead of a deletion's status."""

    headline: str
    lines: tuple[str, ...]


_NOT_RECORDED = {
    ResponseLocation.LOCALLY: (
        "Saved on this server, waiting for the database.",
        "The response is safe in a file and is recorded when the database is back.",
    ),
    ResponseLocation.IN_DATABASE: (
        "Recorded, but the database failed afterwards.",
        "You can open the deletion when the database is back.",
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
    lines = (error.response_text, then, "Don't delete again.")
    return BannerText(headline=headline, lines=lines)
