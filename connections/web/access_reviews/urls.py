"""Access reviews: addresses."""

from connections.access.permissions import DECIDE, DELETE, MANAGE_ACCESS_REVIEWS, SEE
from connections.web.access_reviews import views
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("reviews/", views.access_review_list, SEE),
    # One checkbox per reviewer.
    form_page("reviews/new/", views.access_review_new, MANAGE_ACCESS_REVIEWS, max_fields=1100),
    page("reviews/<uuid:pk>/", views.access_review_detail, SEE),
    # As many connections as one decision can cover.
    action("reviews/<uuid:pk>/decide/", views.access_review_decide, DECIDE, max_fields=1100),
    action("reviews/<uuid:pk>/plan/", views.access_review_plan, DELETE),
    # One checkbox per reviewer.
    form_page(
        "reviews/<uuid:pk>/reviewers/",
        views.access_review_reviewers,
        MANAGE_ACCESS_REVIEWS,
        max_fields=1100,
    ),
    form_page("reviews/<uuid:pk>/close/", views.access_review_close, MANAGE_ACCESS_REVIEWS),
    # A bundle stores its checkpoint, and an export its events.
    page(
        "reviews/<uuid:pk>/export/",
        views.access_review_export,
        MANAGE_ACCESS_REVIEWS,
        is_read_only=False,
    ),
]
