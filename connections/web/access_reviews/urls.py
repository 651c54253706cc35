"""Access reviews: addresses."""

from connections.access.permissions import DELETE, MANAGE_ACCESS_REVIEWS, SEE
from connections.web.access_reviews import actions, detail, downloads
from connections.web.access_reviews.list import access_review_list
from connections.web.access_reviews.start import access_review_new
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("reviews/", access_review_list, SEE),
    # One checkbox per reviewer.
    form_page("reviews/new/", access_review_new, MANAGE_ACCESS_REVIEWS, max_fields=1100),
    page("reviews/<uuid:pk>/", detail.access_review_detail, SEE),
    # As many connections as one decision can cover, each with what the page showed of it.
    # By reviewers and, of their own connections, by owners with any role.
    action(
        "reviews/<uuid:pk>/decide/",
        actions.access_review_decide,
        SEE,
        max_fields=2100,
        viewers_need_mfa=True,
    ),
    action("reviews/<uuid:pk>/plan/", actions.access_review_plan, DELETE),
    # One checkbox per reviewer.
    form_page(
        "reviews/<uuid:pk>/reviewers/",
        actions.access_review_reviewers,
        MANAGE_ACCESS_REVIEWS,
        max_fields=1100,
    ),
    # As many connections as one decision can cover.
    action(
        "reviews/<uuid:pk>/owner/",
        actions.access_review_owner,
        MANAGE_ACCESS_REVIEWS,
        max_fields=1100,
    ),
    action("reviews/<uuid:pk>/repeat/", actions.access_review_repeat, MANAGE_ACCESS_REVIEWS),
    form_page("reviews/<uuid:pk>/close/", actions.access_review_close, MANAGE_ACCESS_REVIEWS),
    page("reviews/<uuid:pk>/export/", downloads.access_review_export, MANAGE_ACCESS_REVIEWS),
]
