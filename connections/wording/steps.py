"""What a person may do next, as codes; the page shows those that roles and state allow."""

from enum import StrEnum


class Step(StrEnum):
    """One next step."""

    # Type the confirmation and send it.
    CONFIRM = "confirm"
    # The same, though it could not be read again.
    CONFIRM_WITHOUT_READING = "confirm_without_reading"
    APPROVE = "approve"
    DECLINE = "decline"
    # Do without the approvals that are missing, and send it.
    BREAK_GLASS = "break_glass"
    WITHDRAW = "withdraw"
    # List now and see what became of it.
    CHECK = "check"
    # End it without knowing.
    CLOSE = "close"
    # A new review with the same reason, because what was reviewed is no longer so.
    REVIEW_AGAIN = "review_again"
    # A new request with the same reason, because this one ended without deleting.
    ASK_AGAIN = "ask_again"
    # A new request after the key pair was mended.
    TRY_AGAIN = "try_again"
    OPEN_CREDENTIAL = "open_credential"
    # All that is known of the connection.
    SEE_CONNECTION = "see_connection"
    SEE_HISTORY = "see_history"

    @property
    def label(self) -> str:
        """The words on its button or link."""
        return _LABELS[self]


_LABELS = {
    Step.CONFIRM: "Delete connection",
    Step.CONFIRM_WITHOUT_READING: "Delete connection",
    Step.APPROVE: "Approve",
    Step.DECLINE: "Decline…",
    Step.BREAK_GLASS: "Break glass…",
    Step.WITHDRAW: "Withdraw",
    Step.CHECK: "Check with Datadog",
    Step.CLOSE: "Close…",
    Step.REVIEW_AGAIN: "Review again",
    Step.ASK_AGAIN: "Ask again",
    Step.TRY_AGAIN: "Try again after fixing",
    Step.OPEN_CREDENTIAL: "Open credential",
    Step.SEE_CONNECTION: "See the connection",
    Step.SEE_HISTORY: "See it in the history",
}
