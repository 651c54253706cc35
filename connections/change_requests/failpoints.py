"""Named points of an attempt at which tests stop a process, to check what is left.

In production they do nothing, and no setting or environment variable changes that. The settings of
some tests replace `hit` with another function.
"""

from enum import StrEnum
from uuid import UUID


class Point(StrEnum):
    """One point, in the order of an attempt."""

    BEFORE_CLAIM = "before_claim"
    INSIDE_CLAIM = "inside_claim"  # attempt and event are written but not committed
    AFTER_CLAIM = "after_claim"  # committed; nothing was sent
    AFTER_RESPONSE = "after_response"  # only the process knows the response
    INSIDE_RESULT = "inside_result"  # the outcome is written but not committed
    AFTER_RESULT = "after_result"


def hit(point: Point, *, change_request_id: UUID) -> None:
    """Note that an attempt of this request has reached this point."""
