"""What outcomes, decisions and problems are called.

The texts of the verifier. The application takes from here those that both print. A text of the
verifier says what a record proves, so it can be longer than the label on a page.
"""

from __future__ import annotations

from typing import NamedTuple

APPROVALS_NEEDED = {"none": 0, "one": 1, "two": 2}

# How a deletion ended, by its outcome. Empty while it is open.
OUTCOMES = {
    "": "Open",
    "deleted": "Deleted: Datadog returned 200",
    "already_absent": "Not found or already gone",
    "gone_unattributed": "Gone, unproven: not proven to be this request",
    "refused": "Refused by Datadog",
    "not_sent": "Gave up",
    "stale": "Changed after the request",
    "declined": "Declined by an approver",
    "withdrawn": "Withdrawn",
    "expired": "Expired",
    "unresolved": "Unresolved: closed, the outcome was never determined",
}
# How an access request ended, by its outcome.
ACCESS_OUTCOMES = {
    "": "Open",
    "created": "Created",
    "changed": "Data types changed",
    "extended": "Extended: the access ends later",
    "already_exists": "Already connected",
    "already_as_requested": "Already as requested",
    "exists_unattributed": "Connected, unproven: not proven to be this request",
    "changed_elsewhere": "Changed elsewhere",
    "gone": "Gone: the connection is no longer listed",
    **{
        outcome: OUTCOMES[outcome]
        for outcome in (
            *("refused", "not_sent", "stale", "declined", "withdrawn", "expired"),
            "unresolved",
        )
    },
}
# What is asked for.
ACCESS_KINDS = {
    "create": "A new connection",
    "change": "Other data types",
    "extend": "A later end",
    "restore": "The connection that was deleted",
    "move": "The same connection, created with another key",
}
# After these outcomes, Datadog should no longer list the connection.
GONE_OUTCOMES = ("deleted", "already_absent", "gone_unattributed")

BATCH_STATES = {
    "requested": "Requested",
    "approved": "Approved",
    "declined": "Declined",
    "running": "Running",
    "paused": "Paused",
    "cancelled": "Canceled",
    "expired": "Expired",
    "finished": "Finished",
}


class RowProblemText(NamedTuple):
    """Why a row can't be deleted: a label, a sentence, and the reason as a plan records it."""

    label: str
    sentence: str
    reason: str


ROW_PROBLEMS = {
    "malformed_id": RowProblemText(
        "Invalid ID", "This isn't a valid site and connection ID.", "invalid ID"
    ),
    "duplicate": RowProblemText(
        "Duplicate",
        "An earlier row has the same connection.",
        "an earlier row has the same connection",
    ),
    "not_visible": RowProblemText(
        "Not listed", "No sync that you can see lists this ID.", "not listed"
    ),
    "protected": RowProblemText("Protected", "It can't be deleted in Org Admin.", "protected"),
    "already_being_deleted": RowProblemText(
        "Deletion open",
        "Another deletion of this connection is open.",
        "another deletion was open",
    ),
    "no_credential": RowProblemText(
        "No credential",
        "None of your credentials can delete it.",
        "no credential could delete it",
    ),
    "changed": RowProblemText(
        "Changed",
        "It has changed since this plan was made.",
        "changed after the plan was made",
    ),
    "kept": RowProblemText(
        "Keep",
        "The newest decision about this connection in any access review is to keep it.",
        "the access review decided to keep it",
    ),
}


def left_out_reason(problem: str) -> str:
    """Why a row was left out of a plan."""
    return ROW_PROBLEMS[problem].reason if problem in ROW_PROBLEMS else problem


# A reviewer's decisions, and with what a row of an access review can also be closed.
DECISIONS = {"keep": "Keep", "delete": "Delete"}
CLOSED_AS = {
    **DECISIONS,
    "gone": "Gone: no longer listed, needs no decision",
    "pending": "Left open",
}
