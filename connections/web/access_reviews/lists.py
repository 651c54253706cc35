"""The list of access reviews."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.progress import count_decidable, open_reviews_to_decide
from connections.access_reviews.rows import count_states, review_rows
from connections.models import AccessReview, AccessReviewRow, AccessReviewState
from connections.web.lists import PAGE_SIZE, Column, list_url
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
    page = Paginator(closed, PAGE_SIZE).get_page(request.GET.get("page"))
    shown = [*([] if page.has_previous() else open_ones), *page.object_list]
    counts, decidable = _count(shown, actor=actor)
    to_decide = set(open_reviews_to_decide(actor=actor).values_list("pk", flat=True))
    number = str(page.next_page_number()) if page.has_next() else ""
    return {
        "rows": [
            ListedReview(
                review=review,
                badge=review_badge(review, now=now),
                due="" if review.is_closed else due_text(review, now=now),
                progress=decided_text(counts[review.pk]),
                yours=decidable[review.pk] if review.pk in to_decide else 0,
            )
            for review in shown
        ],
        "columns": _COLUMNS,
        "can_start": permissions.can_manage_access_reviews(actor),
        "first_url": list_url(request) if page.has_previous() else "",
        "next_url": list_url(request, page=number) if number else "",
    }


def _count(
    reviews: Sequence[AccessReview], *, actor: Actor
) -> tuple[dict[UUID, Counter[str]], Counter[UUID]]:
    """How many visible rows of each access review have each state, and can be decided.

    Some queries for each open one; the states of closed ones are stored.
    """
    counts = defaultdict[UUID, Counter[str]](Counter)
    decidable = Counter[UUID]()
    for review in reviews:
        if not review.is_closed:
            open_rows = review_rows(review=review, actor=actor)
            counts[review.pk].update(count_states(open_rows))
            decidable[review.pk] = count_decidable(open_rows)
    closed = [review.pk for review in reviews if review.is_closed]
    rows = visibility.visible_access_review_rows(
        AccessReviewRow.objects.filter(review__in=closed), actor=actor
    )
    stored = rows.order_by().values_list("review", "closed_as").annotate(count=Count("pk"))
    for review_id, state, count in stored:
        counts[review_id][state] = count
    return counts, decidable
