"""Named places in the life of a sending, at which tests stop a process to see what is left.

Here they do nothing, and nothing that a user can set changes that: no setting and no variable is
read. Settings that only the tests have put another function in the place of `reach`.
"""

from enum import StrEnum
from uuid import UUID


class Point(StrEnum):
    """One place; the order is that of a sending."""

    BEFORE_CLAIM = "before_claim"
    INSIDE_CLAIM = "inside_claim"  # attempt and event are written and not committed
    AFTER_CLAIM = "after_claim"  # committed; nothing has left
    AFTER_ANSWER = "after_answer"  # what came back is known to the process alone
    INSIDE_RESULT = "inside_result"  # the outcome is written and not committed
    AFTER_RESULT = "after_result"


def hit(point: Point, *, deletion_id: UUID) -> None:
    """Say that a sending of this deletion has come to this point."""
