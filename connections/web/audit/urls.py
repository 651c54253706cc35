"""The audit log and evidence: addresses."""

from connections.access.permissions import AUDIT
from connections.web.audit import evidence_views, views
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("audit/", views.audit_list, AUDIT),
    page("audit/export/", views.audit_export, AUDIT),
    page("audit/<int:seq>/", views.audit_detail, AUDIT),
    page("evidence/", evidence_views.evidence_detail, AUDIT),
    form_page("evidence/bundle/", evidence_views.bundle_new, AUDIT),
    action("evidence/verify/", evidence_views.evidence_verify, AUDIT),
    page("evidence/checkpoints/<int:pk>/", evidence_views.checkpoint_download, AUDIT),
]
