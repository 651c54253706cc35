"""Credentials: addresses."""

from connections.access.permissions import ADMINISTER, MANAGE_CREDENTIALS, SEE
from connections.web.credentials import actions
from connections.web.credentials.detail import credential_detail, credential_list
from connections.web.credentials.imports import credential_import
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("credentials/", credential_list, SEE),
    form_page("credentials/new/", actions.credential_new, MANAGE_CREDENTIALS),
    form_page("credentials/import/", credential_import, MANAGE_CREDENTIALS, accepts_file=True),
    page("credentials/<uuid:pk>/", credential_detail, SEE),
    action("credentials/<uuid:pk>/verify/", actions.credential_verify, MANAGE_CREDENTIALS),
    action("credentials/<uuid:pk>/rename/", actions.credential_rename, MANAGE_CREDENTIALS),
    form_page("credentials/<uuid:pk>/rotate/", actions.credential_rotate, MANAGE_CREDENTIALS),
    action("credentials/<uuid:pk>/policy/", actions.credential_policy, ADMINISTER),
    action("credentials/<uuid:pk>/creator/", actions.credential_creator, ADMINISTER),
    form_page("credentials/<uuid:pk>/access/", actions.credential_access, ADMINISTER),
    form_page("credentials/<uuid:pk>/retire/", actions.credential_retire, MANAGE_CREDENTIALS),
]
