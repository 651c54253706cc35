"""Template variables that every page has: navigation, theme, signed-in person."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from connections.change_requests.hold import find_hold
from connections.core.own_address import own_origin
from connections.models import Person, ProviderAccount
from connections.people import provider_accounts
from connections.web.framework.http import signed_in_person
from connections.web.framework.reauthentication import prompt_for
from connections.web.overview.navigation import navigation_of
from connections.web.people import single_sign_on
from connections.web.people.account import THEMES


def page_context(request: HttpRequest) -> dict[str, Any]:
    """The variables. They are lazy: none queries the database until a template uses it."""
    return {
        "theme": _theme(request),
        # The hold that is on.
        "hold": SimpleLazyObject(find_hold),
        "nav": SimpleLazyObject(lambda: navigation_of(request)),
        "signed_in_person": SimpleLazyObject(lambda: signed_in_person(request)),
        "role_names": SimpleLazyObject(lambda: _role_names(signed_in_person(request))),
        "reauth_prompt": SimpleLazyObject(lambda: prompt_for(request)),
        "is_demo": settings.IS_DEMO,
        "has_mail": settings.HAS_MAIL,
        "own_origin": SimpleLazyObject(lambda: own_origin(request)),
        "is_unclaimed": SimpleLazyObject(lambda: not Person.objects.exists()),
        "provider_name": SimpleLazyObject(single_sign_on.provider_name),
        "is_sso_only": settings.SSO_ONLY,
        "provider_account": SimpleLazyObject(lambda: _provider_account(signed_in_person(request))),
    }


def _theme(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "")
    return theme if theme in THEMES else THEMES[0]


def _provider_account(person: Person | None) -> ProviderAccount | None:
    if person is None:
        return None
    return provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER)


def _role_names(person: Person | None) -> str:
    if person is None:
        return ""
    if person.is_superuser:
        return "Administrator"
    return ", ".join(sorted(role.value for role in person.roles)) or "No role yet"
