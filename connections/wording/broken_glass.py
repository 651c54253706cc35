"""What is said wherever a deletion appears for which glass was broken."""

from dataclasses import dataclass

from connections.core.times import format_time
from connections.models import ApprovalPolicy, BreakGlassReview, Deletion


@dataclass(frozen=True, kw_only=True)
class BreakGlassText:
    """A banner; a review ends the alarm and never the banner."""

    tone: str
    headline: str
    lines: tuple[str, ...]


def break_glass_text(deletion: Deletion) -> BreakGlassText | None:
    """The banner of one deletion; None where no glass was broken.

    Asks the database for the review, unless it was read along.
    """
    if deletion.break_glass_at is None:
        return None
    review: BreakGlassReview | None = getattr(deletion, "break_glass_review", None)
    needed = {
        ApprovalPolicy.ONE: "the approval of another person",
        ApprovalPolicy.TWO: "two approvals",
    }
    lacking = needed.get(ApprovalPolicy(deletion.policy), "approval")
    looked = "Nobody has looked back at it yet: an approver or an administrator does."
    if review:
        at = format_time(review.reviewed_at)
        looked = f"Reviewed by {review.reviewer_name} at {at}: “{review.note}”"
    return BreakGlassText(
        tone="warn" if review else "danger",
        headline=f"Glass was broken by {deletion.break_glass_by_name}.",
        lines=(
            f"At {format_time(deletion.break_glass_at)}, to go on without {lacking}: "
            f"“{deletion.break_glass_reason}”",
            looked,
        ),
    )
