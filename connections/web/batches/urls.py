"""Bulk deletions: addresses."""

from connections.access.permissions import APPROVE, DELETE, EXPORT, SEE, STOP_BATCH
from connections.web.batches import views
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    # For a plan of 1,000 rows.
    form_page("deletions/batches/", views.batch_list, SEE, post_permission=DELETE, max_fields=1100),
    page("deletions/batches/<uuid:pk>/", views.batch_detail, SEE),
    page("deletions/batches/<uuid:pk>/export/", views.batch_export, EXPORT),
    action("deletions/batches/<uuid:pk>/remove/", views.batch_remove, DELETE, max_fields=1100),
    action(
        "deletions/batches/<uuid:pk>/credential/", views.batch_credential, DELETE, max_fields=1100
    ),
    action("deletions/batches/<uuid:pk>/split/", views.batch_split, DELETE),
    action("deletions/batches/<uuid:pk>/request/", views.batch_request, DELETE),
    action("deletions/batches/<uuid:pk>/approve/", views.batch_approve, APPROVE),
    action("deletions/batches/<uuid:pk>/decline/", views.batch_decline, APPROVE),
    action("deletions/batches/<uuid:pk>/execute/", views.batch_execute, DELETE),
    action("deletions/batches/<uuid:pk>/pause/", views.batch_pause, STOP_BATCH),
    action("deletions/batches/<uuid:pk>/resume/", views.batch_resume, DELETE),
    action("deletions/batches/<uuid:pk>/cancel/", views.batch_cancel, STOP_BATCH),
]
