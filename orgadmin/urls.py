"""All addresses: ours, and django-allauth's under /accounts/."""

from django.http import Http404
from django.urls import include, path
from django.views import defaults
from django.views.generic import RedirectView

from connections.second_factors import (
    AddKeyView,
    MakeRecoveryCodesView,
    RemoveKeyView,
    SetUpAppView,
    TurnOffAppView,
)

urlpatterns = [
    path("", include("connections.urls")),
    # Sign-in links and second factors hang on it, so a person's own session may not change it.
    path("accounts/email/", defaults.page_not_found, {"exception": Http404()}),
    # The same pages as allauth's, with what they change on record.
    path("accounts/2fa/totp/activate/", SetUpAppView.as_view(), name="mfa_activate_totp"),
    path("accounts/2fa/totp/deactivate/", TurnOffAppView.as_view(), name="mfa_deactivate_totp"),
    path("accounts/2fa/webauthn/add/", AddKeyView.as_view(), name="mfa_add_webauthn"),
    path(
        "accounts/2fa/webauthn/keys/<int:pk>/remove/",
        RemoveKeyView.as_view(),
        name="mfa_remove_webauthn",
    ),
    path(
        "accounts/2fa/recovery-codes/generate/",
        MakeRecoveryCodesView.as_view(),
        name="mfa_generate_recovery_codes",
    ),
    # A code of an authenticator app or from paper alone is no proof: the question is our own.
    path(
        "accounts/2fa/reauthenticate/",
        RedirectView.as_view(pattern_name="step-up", query_string=True),
    ),
    path(
        "accounts/2fa/webauthn/reauthenticate/",
        RedirectView.as_view(pattern_name="step-up", query_string=True),
    ),
    path("accounts/", include("allauth.urls")),
]

handler400 = "connections.views.errors.bad_request"
handler403 = "connections.views.errors.permission_denied"
handler404 = "connections.views.errors.page_not_found"
handler500 = "connections.views.errors.server_error"
