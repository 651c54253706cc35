"""What it means when a reading (a listing, a question about the keys) failed."""

from connections.core.causes import Cause
from connections.wording.causes import cause_text

# The stored keys cannot be decrypted, so that nothing was asked.
NOT_OPENED = "not_opened"


def failure_text(*, cause: str, http_status: int | None = None) -> str:
    """A sentence or two for the cause of a failed reading; `http_status` is None without answer."""
    if cause == NOT_OPENED:
        return "Its stored keys could not be decrypted."
    if cause == Cause.NOT_FOUND:
        # Elsewhere it is a connection that is not found; a reading asks for none.
        return "Datadog does not know the address that was asked (404)."
    words = cause_text(cause)
    return words if http_status else f"{words} This says nothing about the keys."
