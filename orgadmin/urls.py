"""All URLs: those of Org Admin, and django-allauth's under /accounts/."""

from typing import Any, NoReturn

from django.conf import settings
from django.http import Http404, HttpRequest
from django.urls import URLPattern, include, path
from django.views.generic import RedirectView

from connections.web.framework.routing import View, Visitors, form_page
from connections.web.people.mfa import (
    AddKeyView,
    MakeRecoveryCodesView,
    RemoveKeyView,
    SetUpAppView,
    TurnOffAppView,
)


def not_offered(request: HttpRequest, **kwargs: Any) -> NoReturn:
    """404 for a page of django-allauth that Org Admin doesn't offer."""
    raise Http404


def _page_not_offered(route: str, *, name: str) -> URLPattern:
    return form_page(f"accounts/{route}", not_offered, Visitors.SIGNED_IN, name=name)


def _recorded_page(route: str, view: View, *, name: str, shows_secret: bool = False) -> URLPattern:
    # allauth's page with audit events.
    return form_page(
        f"accounts/{route}",
        view,
        Visitors.SIGNED_IN,
        name=name,
        shows_secret=shows_secret,
    )


def _to_reauthentication(route: str, *, name: str) -> URLPattern:
    # A one-time code alone is not enough, so Org Admin's own page replaces allauth's.
    return form_page(
        f"accounts/{route}",
        RedirectView.as_view(pattern_name="reauthentication", query_string=True),
        Visitors.SIGNED_IN,
        name=name,
    )


urlpatterns = [
    path("", include("connections.urls")),
    # Administrators add people, and change the email addresses that sign-in links depend on.
    _page_not_offered("signup/", name="account_signup"),
    _page_not_offered("email/", name="account_email"),
    _page_not_offered("confirm-email/", name="account_email_verification_sent"),
    _page_not_offered("confirm-email/<str:key>/", name="account_confirm_email"),
    _page_not_offered("login/code/confirm/", name="account_confirm_login_code"),
    _recorded_page(
        "2fa/totp/activate/",
        SetUpAppView.as_view(),
        name="mfa_activate_totp",
        shows_secret=True,
    ),
    _recorded_page("2fa/totp/deactivate/", TurnOffAppView.as_view(), name="mfa_deactivate_totp"),
    _recorded_page("2fa/webauthn/add/", AddKeyView.as_view(), name="mfa_add_webauthn"),
    _recorded_page(
        "2fa/webauthn/keys/<int:pk>/remove/", RemoveKeyView.as_view(), name="mfa_remove_webauthn"
    ),
    _recorded_page(
        "2fa/recovery-codes/generate/",
        MakeRecoveryCodesView.as_view(),
        name="mfa_generate_recovery_codes",
        shows_secret=True,
    ),
    _to_reauthentication("2fa/reauthenticate/", name="mfa_reauthenticate"),
    _to_reauthentication("2fa/webauthn/reauthenticate/", name="mfa_reauthenticate_webauthn"),
    path("accounts/", include("allauth.urls")),
]

if settings.IS_DEMO:
    from orgadmin.demo.pages import demo_urls

    urlpatterns += demo_urls()

handler400 = "connections.web.framework.errors.bad_request"
handler403 = "connections.web.framework.errors.permission_denied"
handler404 = "connections.web.framework.errors.page_not_found"
handler500 = "connections.web.framework.errors.server_error"
