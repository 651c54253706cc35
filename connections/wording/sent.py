"""What is said when an attempt was made and the database then failed."""

from dataclasses import dataclass

from connections.core.errors import RecordedIn, ResponseNotRecordedError


@dataclass(frozen=True, kw_only=True)
class UnrecordedResponseText:
    """A headline and what stands under it."""

    tone: str
    icon: str
    headline: str
    lines: tuple[str, ...]


_TEXTS = {
    RecordedIn.LOCALLY: (
        "unknown",
        "clock",
        "Recorded locally, waiting for the database.",
        "It is safe in a file on this server and enters the record by itself when the database "
        "is back.",
    ),
    RecordedIn.IN_DATABASE: (
        "warn",
        "warning",
        "Recorded; the database has failed since.",
        "The record holds it and can be opened when the database is back.",
    ),
    RecordedIn.NOWHERE: (
        "danger",
        "warning",
        "The result could not be recorded.",
        "Neither the database nor a file took it. Copy it now: the record holds the attempt, but "
        "not its result. Org Admin will check Datadog’s list.",
    ),
}


def unrecorded_response_text(error: ResponseNotRecordedError) -> UnrecordedResponseText:
    """The words for one such case."""
    tone, icon, headline, then = _TEXTS[error.kept]
    said = f"{error.said}."
    again = "Do not delete it again."
    return UnrecordedResponseText(
        tone=tone, icon=icon, headline=headline, lines=(said, then, again)
    )
