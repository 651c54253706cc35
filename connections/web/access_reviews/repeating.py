"""How an access review repeats, on its page."""

from typing import Any

from connections.access_reviews.population import REPETITIONS
from connections.access_reviews.repeating import next_start
from connections.models import AccessReview, AuditEvent, EventCode
from connections.web.access_reviews.forms import RepetitionForm


def repetition(review: AccessReview, *, can_manage: bool) -> dict[str, Any]:
    """When the next one starts, why it wasn't started, and the form to change that."""
    if AccessReview.objects.filter(repeats=review).exists():
        return {}
    problem = ""
    if review.repeat_failed_at:
        failures = AuditEvent.objects.filter(
            code=EventCode.ACCESS_REVIEW_REPEAT_FAILED,
            subject_type="access_review",
            subject_id=str(review.pk),
        )
        problem = failures.latest("seq").details["reason"]
    form = RepetitionForm(initial={"repeat_months": review.repeat_months})
    return {
        "every": REPETITIONS.get(review.repeat_months or 0),
        "next_start": next_start(review),
        "repeat_problem": problem,
        "repetition_form": form if can_manage else None,
    }
