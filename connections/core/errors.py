"""The errors that stop an action. Every message says what to do.

ResponseNotRecordedError is different: the action happened, but its result isn't recorded yet.
"""

import signal
from enum import StrEnum
from uuid import UUID


class DomainError(Exception):
    """The action did not happen. Nothing was sent and nothing changed."""


class InvalidInputError(DomainError):
    """The input is invalid. `fields` maps a form field to its message."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = fields


class ConflictError(DomainError):
    """The object is no longer in a state that allows the action."""


class NotKeptError(DomainError):
    """Nothing is stored about the time that was asked for."""


class OvertakenError(ConflictError):
    """Someone else, or the same person in another tab, was first.

    The message says what they did.
    """


class UnavailableError(DomainError):
    """No request can be made with this credential, and `cause` says why. Nothing was sent."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class ClockBehindError(DomainError):
    """The database's clock is behind what it recorded before. Nothing was sent."""


class BlockedError(ConflictError):
    """A request was confirmed but can no longer be sent. `cause` says why."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class ResponseLocation(StrEnum):
    """Where the response to an attempt is stored if it can't be shown as usual."""

    LOCALLY = "locally"  # in a file on this machine, until the database accepts it
    NOWHERE = "nowhere"  # nowhere: the audit log only says that an attempt was made


class ResponseNotRecordedError(Exception):
    """An attempt was made, but the database couldn't store or return its response.

    Not a DomainError, which would mean that nothing was sent. `response_text` describes the
    response, or says that the request could not leave.
    """

    def __init__(
        self,
        *,
        noun: str,
        change_request_id: UUID,
        response_text: str,
        location: ResponseLocation,
    ) -> None:
        super().__init__(
            f"{noun.capitalize()} {change_request_id} was attempted. {response_text} "
            f"Stored: {location}."
        )
        self.noun = noun
        self.change_request_id = change_request_id
        self.response_text = response_text
        self.location = location


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequestedError(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. A BaseException, so that `except Exception` ignores it."""
