"""Credentials: addresses."""

from connections.access.permissions import ADMINISTER, MANAGE_CREDENTIALS, SEE
from connections.web.credentials import views
from connections.web.framework.routing import action, form_page, page

urlpatterns = [
    page("credentials/", views.credential_list, SEE),
    form_page("credentials/new/", views.credential_new, MANAGE_CREDENTIALS),
    form_page(
        "credentials/import/", views.credential_import, MANAGE_CREDENTIALS, accepts_file=True
    ),
    page("credentials/<uuid:pk>/", views.credential_detail, SEE),
    action("credentials/<uuid:pk>/verify/", views.credential_verify, MANAGE_CREDENTIALS),
    action("credentials/<uuid:pk>/rename/", views.credential_rename, MANAGE_CREDENTIALS),
    form_page("credentials/<uuid:pk>/rotate/", views.credential_rotate, MANAGE_CREDENTIALS),
    action("credentials/<uuid:pk>/policy/", views.credential_policy, ADMINISTER),
    form_page("credentials/<uuid:pk>/access/", views.credential_access, ADMINISTER),
    form_page("credentials/<uuid:pk>/retire/", views.credential_retire, MANAGE_CREDENTIALS),
]
