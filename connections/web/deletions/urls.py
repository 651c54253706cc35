"""Deletions: addresses."""

from connections.access.permissions import (
    APPROVE,
    BREAK_GLASS,
    COMMENT,
    DELETE,
    EXPORT,
    SEE,
    WITHDRAW,
)
from connections.web.deletions import list as history
from connections.web.deletions import views
from connections.web.deletions.review_views import deletion_new
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("deletions/", history.deletion_list, SEE),
    page("deletions/export/", history.deletion_export, EXPORT),
    form_page("deletions/new/", deletion_new, DELETE),
    page("deletions/<uuid:pk>/", views.deletion_detail, SEE),
    action("deletions/<uuid:pk>/execute/", views.deletion_execute, DELETE),
    action("deletions/<uuid:pk>/approve/", views.deletion_approve, APPROVE),
    action("deletions/<uuid:pk>/decline/", views.deletion_decline, APPROVE),
    action("deletions/<uuid:pk>/break-glass/", views.deletion_break_glass, BREAK_GLASS),
    action("deletions/<uuid:pk>/review-glass/", views.deletion_review_break_glass, APPROVE),
    action("deletions/<uuid:pk>/withdraw/", views.deletion_withdraw, WITHDRAW),
    action("deletions/<uuid:pk>/reconcile/", views.deletion_reconcile, DELETE),
    action("deletions/<uuid:pk>/comment/", views.deletion_comment, COMMENT),
    action("deletions/<uuid:pk>/close/", views.deletion_close, DELETE),
]
