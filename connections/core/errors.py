"""What an act may answer instead of happening. Every message says what to do.

SentError alone is different: the act happened, and its record waits.
"""

import unicodedata
from enum import StrEnum
from uuid import UUID


def has_visible_text(text: str) -> bool:
    """Whether something can be read in it: a letter, digit, sign or symbol of any script.

    White space and invisible characters alone are no reason that an auditor could read.
    """
    return any(unicodedata.category(character)[0] in "LNPS" for character in text)


class DomainError(Exception):
    """The act did not happen; nothing was sent and nothing changed."""


class InvalidInputError(DomainError):
    """Something typed cannot be used. `fields` maps a form field to its message."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = fields


class ConflictError(DomainError):
    """What the act is about is no longer in a state in which it can happen."""


class UnavailableError(DomainError):
    """Datadog cannot even be asked with this credential; `cause` says why. Nothing was sent."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class BlockedError(ConflictError):
    """A deletion that was rightly confirmed may not be sent any more; `cause` says why."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class RecordedIn(StrEnum):
    """Where what came back from a sending stands, when it could not be shown as usual."""

    LOCALLY = "locally"  # in a file on this machine, until the database takes it
    IN_DATABASE = "in_database"  # recorded; the database failed afterwards
    NOWHERE = "nowhere"  # neither took it; the record says that something was sent


class ResponseNotRecordedError(Exception):
    """An attempt was made, and the database did not take or show what came back.

    No ActError: it never means that nothing was sent. `said` is what came back, in words; it may
    be that the request could not leave.
    """

    def __init__(self, *, deletion_id: UUID, said: str, kept: RecordedIn) -> None:
        super().__init__(f"Deletion {deletion_id} was attempted. {said}. Kept: {kept}.")
        self.deletion_id = deletion_id
        self.said = said
        self.kept = kept
