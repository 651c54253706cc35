"""Agreements: addresses."""

from connections.access.permissions import EXPORT, SEE
from connections.web.agreements.acceptance import agreement_accept, agreement_refuse
from connections.web.agreements.actions import agreement_form, agreement_list
from connections.web.agreements.imports import agreement_import
from connections.web.agreements.list import agreement_export
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    # For 1,000 pairs. Who can set which one, the service decides.
    form_page("agreements/", agreement_list, SEE, max_fields=1100),
    form_page("agreements/set/", agreement_form, SEE, max_fields=1100),
    # By the owner. Each pair has a version.
    action("agreements/accept/", agreement_accept, SEE, max_fields=2100, viewers_need_mfa=True),
    action("agreements/refuse/", agreement_refuse, SEE, viewers_need_mfa=True),
    form_page("agreements/import/", agreement_import, SEE, accepts_file=True),
    page("agreements/export/", agreement_export, EXPORT),
]
