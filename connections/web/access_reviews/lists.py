"""The list of access reviews."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.progress import open_reviews_to_decide
from connections.access_reviews.rows import count_rows
from connections.models import AccessReview, AccessReviewState
from connections.web.lists import Column, counted_links, counted_page
from connections.web.support import time_of
from connections.wording import Badge
from connections.wording.access_reviews import decided_text, due_text, review_badge

_COLUMNS = (
    Column(label="Status", css="cell-status"),
    Column(label="Access review", css="cell-main"),
    Column(label="Due", css="cell-due"),
    Column(label="Decided", css="cell-progress"),
    Column(label="For you", css="cell-yours"),
    Column(label="Started", css="cell-time"),
    Column(label="Started by", css="cell-person"),
)


@dataclass(frozen=True, kw_only=True)
class ListedReview:
    """One row of the list."""

    review: AccessReview
    badge: Badge
    # "Due in 5 days"; "" once it is closed.
    due: str
    progress: str
    # How many connections this person has yet to decide.
    yours: int


def list_context(request: HttpRequest, *, actor: Actor) -> dict[str, Any]:
    """Template variables of the list. The open ones come first, and of them the first due."""
    now = time_of(request)
    visible = visibility.visible_access_reviews(actor=actor)
    open_ones = list(
        visible.filter(state=AccessReviewState.OPEN).order_by("due_at", "created_at", "id")
    )
    closed = visible.filter(state=AccessReviewState.CLOSED).order_by("-closed_at", "-id")
    page = counted_page(request, closed)
    shown = [*([] if page.has_previous() else open_ones), *page.object_list]
    counts = count_rows(reviews=shown, actor=actor)
    to_decide = set(open_reviews_to_decide(actor=actor).values_list("pk", flat=True))
    return {
        "rows": [
            ListedReview(
                review=review,
                badge=review_badge(review, now=now),
                due="" if review.is_closed else due_text(review, now=now),
                progress=decided_text(Counter[str](counts[review.pk].states)),
                yours=counts[review.pk].decidable if review.pk in to_decide else 0,
            )
            for review in shown
        ],
        "columns": _COLUMNS,
        "can_start": permissions.can_manage_access_reviews(actor),
        **counted_links(request, page),
    }
