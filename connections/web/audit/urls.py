"""The audit log and evidence: addresses."""

from connections.access.permissions import AUDIT
from connections.web.audit import detail, evidence
from connections.web.audit import list as events
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("audit/", events.audit_list, AUDIT),
    page("audit/export/", events.audit_export, AUDIT),
    page("audit/<int:seq>/", detail.audit_detail, AUDIT),
    page("evidence/", evidence.evidence_detail, AUDIT),
    form_page("evidence/bundle/", evidence.bundle_new, AUDIT),
    action("evidence/verify/", evidence.evidence_verify, AUDIT),
    page("evidence/checkpoints/<int:pk>/", evidence.checkpoint_download, AUDIT),
]
