"""The list of access reviews."""

from collections import Counter
from dataclasses import dataclass

from django import forms
from django.http import HttpRequest, HttpResponse

from connections.access import permissions, visibility
from connections.access_reviews.progress import open_reviews_to_decide
from connections.access_reviews.rows import count_rows
from connections.access_reviews.texts import decided_text, due_text
from connections.models import AccessReview, AccessReviewState
from connections.web.badges import Badge, review_badge
from connections.web.framework import lists
from connections.web.framework.http import actor_of, time_of
from connections.web.overview.parts import is_part, render_part

LIST = lists.ListPage(
    title="Access reviews", noun="access review", template="access_reviews/list.html"
)


@dataclass(frozen=True, kw_only=True)
class ListedReview:
    """One row of the list."""

    review: AccessReview
    badge: Badge
    # "Due in 5 days"; "" once it is closed.
    due: str
    progress: str
    # How many connections this person has left to decide on.
    yours: int


def access_review_list(request: HttpRequest) -> HttpResponse:
    """The access reviews with a connection that this person can see.

    Open ones come first, by due date.
    """
    if is_part(request):
        return render_part(request, entry="access-review-list", title=LIST.title)
    actor, now = actor_of(request), time_of(request)
    visible = visibility.visible_access_reviews(actor=actor)
    open_ones = list(
        visible.filter(state=AccessReviewState.OPEN).order_by("due_at", "created_at", "id")
    )
    closed = visible.filter(state=AccessReviewState.CLOSED).order_by("-closed_at", "-id")
    page = lists.numbered_page(request, closed)
    reviews = [*([] if page.has_previous() else open_ones), *page.object_list]
    counts = count_rows(reviews=reviews, actor=actor)
    to_decide = set(open_reviews_to_decide(actor=actor).values_list("pk", flat=True))
    return LIST.render(
        request,
        {"can_start": permissions.can_manage_access_reviews(actor)},
        form=forms.Form(),
        rows=[
            ListedReview(
                review=review,
                badge=review_badge(review, now=now),
                due="" if review.is_closed else due_text(review, now=now),
                progress=decided_text(Counter[str](counts[review.pk].states)),
                yours=counts[review.pk].decidable if review.pk in to_decide else 0,
            )
            for review in reviews
        ],
        links=lists.numbered_links(request, page),
        count=len(open_ones) + page.paginator.count,
    )
