"""What is said wherever a deletion appears for which glass was broken."""

from dataclasses import dataclass

from connections.core.times import at_words
from connections.models import Deletion, GlassReview, Policy


@dataclass(frozen=True, kw_only=True)
class GlassWords:
    """A banner; a review ends the alarm and never the banner."""

    tone: str
    headline: str
    lines: tuple[str, ...]


def glass_words(deletion: Deletion) -> GlassWords | None:
    """The banner of one deletion; None where no glass was broken.

    Asks the database for the review, unless it was read along.
    """
    if deletion.glass_broken_at is None:
        return None
    review: GlassReview | None = getattr(deletion, "glass_review", None)
    needed = {Policy.ONE: "the approval of another person", Policy.TWO: "two approvals"}
    lacking = needed.get(Policy(deletion.policy), "approval")
    looked = "Nobody has looked back at it yet: an approver or an administrator does."
    if review:
        looked = (
            f"Reviewed by {review.reviewer_name} at {at_words(review.reviewed_at)}: “{review.note}”"
        )
    return GlassWords(
        tone="warn" if review else "danger",
        headline=f"Glass was broken by {deletion.glass_broken_by_name}.",
        lines=(
            f"At {at_words(deletion.glass_broken_at)}, to go on without {lacking}: "
            f"“{deletion.glass_reason}”",
            looked,
        ),
    )
