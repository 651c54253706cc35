"""The steps that a page can offer; it shows those that roles and state allow."""

from enum import StrEnum


class NextStep(StrEnum):
    """One next step."""

    # Enter the confirmation and send.
    CONFIRM = "confirm"
    # The same after a failed recheck.
    CONFIRM_WITHOUT_READING = "confirm_without_reading"
    APPROVE = "approve"
    DECLINE = "decline"
    # Send without the missing approvals.
    BREAK_GLASS = "break_glass"
    WITHDRAW = "withdraw"
    # List now and check the outcome.
    CHECK = "check"
    # Settle it as unresolved.
    CLOSE = "close"
    # A new review with the same reason, because the connection changed.
    REVIEW_AGAIN = "review_again"
    # A new request with the same reason, because this one deleted nothing.
    ASK_AGAIN = "ask_again"
    # A new request after the keys or the role are fixed.
    TRY_AGAIN = "try_again"
    OPEN_CREDENTIAL = "open_credential"
    # The page of the connection.
    SEE_CONNECTION = "see_connection"
    SEE_HISTORY = "see_history"

    @property
    def label(self) -> str:
        """The text of its button or link."""
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
