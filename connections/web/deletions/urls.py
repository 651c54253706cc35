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
from connections.web.deletions import actions
from connections.web.deletions import list as history
from connections.web.deletions.confirm import deletion_confirm
from connections.web.deletions.detail import deletion_detail
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("deletions/", history.deletion_list, SEE),
    page("deletions/export/", history.deletion_export, EXPORT),
    form_page("deletions/new/", deletion_confirm, DELETE),
    page("deletions/<uuid:pk>/", deletion_detail, SEE),
    action("deletions/<uuid:pk>/execute/", actions.deletion_execute, DELETE),
    action("deletions/<uuid:pk>/approve/", actions.deletion_approve, APPROVE),
    action("deletions/<uuid:pk>/decline/", actions.deletion_decline, APPROVE),
    action("deletions/<uuid:pk>/break-glass/", actions.deletion_break_glass, BREAK_GLASS),
    action("deletions/<uuid:pk>/review-glass/", actions.deletion_late_approval, APPROVE),
    action("deletions/<uuid:pk>/withdraw/", actions.deletion_withdraw, WITHDRAW),
    action("deletions/<uuid:pk>/reconcile/", actions.deletion_reconcile, DELETE),
    action("deletions/<uuid:pk>/comment/", actions.deletion_comment, COMMENT),
    action("deletions/<uuid:pk>/close/", actions.deletion_close, DELETE),
]
