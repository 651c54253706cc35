"""Bulk deletions: addresses."""

from connections.access.permissions import APPROVE, DELETE, EXPORT, SEE, STOP_BATCH
from connections.web.batches import actions, detail
from connections.web.batches.list import batch_list
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    # For a plan of 1,000 rows.
    form_page("deletions/batches/", batch_list, SEE, post_permission=DELETE, max_fields=1100),
    page("deletions/batches/<uuid:pk>/", detail.batch_detail, SEE),
    page("deletions/batches/<uuid:pk>/export/", detail.batch_export, EXPORT),
    action("deletions/batches/<uuid:pk>/remove/", actions.batch_remove, DELETE, max_fields=1100),
    action(
        "deletions/batches/<uuid:pk>/credential/", actions.batch_credential, DELETE, max_fields=1100
    ),
    action("deletions/batches/<uuid:pk>/split/", actions.batch_split, DELETE),
    action("deletions/batches/<uuid:pk>/request/", actions.batch_request, DELETE),
    action("deletions/batches/<uuid:pk>/approve/", actions.batch_approve, APPROVE),
    action("deletions/batches/<uuid:pk>/decline/", actions.batch_decline, APPROVE),
    action("deletions/batches/<uuid:pk>/execute/", actions.batch_execute, DELETE),
    action("deletions/batches/<uuid:pk>/pause/", actions.batch_pause, STOP_BATCH),
    action("deletions/batches/<uuid:pk>/resume/", actions.batch_resume, DELETE),
    action("deletions/batches/<uuid:pk>/cancel/", actions.batch_cancel, STOP_BATCH),
]
