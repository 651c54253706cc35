"""All addresses: ours, and django-allauth's under /accounts/."""

from django.urls import include, path

urlpatterns = [
    path("", include("connections.urls")),
    path("accounts/", include("allauth.urls")),
]

handler400 = "connections.views.errors.bad_request"
handler403 = "connections.views.errors.permission_denied"
handler404 = "connections.views.errors.page_not_found"
handler500 = "connections.views.errors.server_error"
