"""What a person may do next, as codes; the page shows those that roles and state allow."""

from enum import StrEnum


class NextStep(StrEnum):
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
    NextStep.CONFIRM: "Delete connection",
    NextStep.CONFIRM_WITHOUT_READING: "Delete connection",
    NextStep.APPROVE: "Approve",
    NextStep.DECLINE: "Decline…",
    NextStep.BREAK_GLASS: "Break glass…",
    NextStep.WITHDRAW: "Withdraw",
    NextStep.CHECK: "Check with Datadog",
    NextStep.CLOSE: "Close…",
    NextStep.REVIEW_AGAIN: "Review again",
    NextStep.ASK_AGAIN: "Ask again",
    NextStep.TRY_AGAIN: "Try again after fixing",
    NextStep.OPEN_CREDENTIAL: "Open credential",
    NextStep.SEE_CONNECTION: "See the connection",
    NextStep.SEE_HISTORY: "See it in the history",
}
