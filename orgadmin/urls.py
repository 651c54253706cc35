"""All addresses: ours, and django-allauth's under /accounts/."""

from django.http import Http404
from django.urls import include, path
from django.views import defaults

urlpatterns = [
    path("", include("connections.urls")),
    # Sign-in links and second factors hang on it, so a person's own session may not change it.
    path("accounts/email/", defaults.page_not_found, {"exception": Http404()}),
    path("accounts/", include("allauth.urls")),
]

handler400 = "connections.views.errors.bad_request"
handler403 = "connections.views.errors.permission_denied"
handler404 = "connections.views.errors.page_not_found"
handler500 = "connections.views.errors.server_error"
