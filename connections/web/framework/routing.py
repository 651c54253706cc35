"""The only way to register a view: `page`, `form_page` and `action`, each with its access rules.

A URL's rules are declared where the URL is registered, and its view never runs without them. The
middleware refuses a view that was registered in any other way. A URL is named after its view.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import wraps
from typing import Any, TypedDict, Unpack

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path

from connections.access.permissions import Permission
from connections.core.text import join_names
from connections.web.framework.addresses import find_parent_page
from connections.web.framework.http import actor_of

type View = Callable[..., HttpResponseBase]

READ = frozenset({"GET", "HEAD"})
WRITE = frozenset({"POST"})


class Visitors(Enum):
    """Who can open a view that needs no permission."""

    ANYONE = "anyone"  # signed in or not
    SIGNED_IN = "signed in"  # for a person's own account and sessions


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request needs before its view runs."""

    methods: frozenset[str]
    permission: Permission | Visitors
    # For a POST, if it needs a different permission than a GET.
    post_permission: Permission | None = None
    # A POST needs a password or passkey from the last five minutes: the view has
    # @requires_reauthentication.
    reauthenticate: bool = False
    # Where ORGADMIN_REQUIRE_MFA is on, a POST also requires it of Viewers, who otherwise decide
    # nothing.
    viewers_need_mfa: bool = False
    # The response can show a secret, so it is never compressed: its compressed size would reveal
    # something about the secret (BREACH).
    shows_secret: bool = False
    # A POST can contain a file, which is kept in memory. Other URLs refuse files.
    accepts_file: bool = False
    # How many fields a query string or a form can have, because each one costs time to parse.
    max_fields: int = 100

    @property
    def needs_sign_in(self) -> bool:
        """Whether a person must be signed in."""
        return self.permission is not Visitors.ANYONE

    @property
    def needs_mfa(self) -> bool:
        """Whether MFA must be set up, if ORGADMIN_REQUIRE_MFA requires it of this person."""
        return isinstance(self.permission, Permission)


class AccessRules(TypedDict, total=False):
    """The fields of Access that most URLs leave at their defaults."""

    viewers_need_mfa: bool
    shows_secret: bool
    accepts_file: bool
    max_fields: int
    post_permission: Permission


class Rules(AccessRules, total=False):
    """The access rules of a URL, and its name where that isn't the view's (`change-list`)."""

    name: str


def page(
    route: str, view: View, permission: Permission | Visitors, **rules: Unpack[Rules]
) -> URLPattern:
    """Register a page: GET and HEAD."""
    return _register(route, view, READ, permission, **rules)


def form_page(
    route: str, view: View, permission: Permission | Visitors, **rules: Unpack[Rules]
) -> URLPattern:
    """Register a page whose form posts to the page's own URL: GET, HEAD and POST."""
    return _register(route, view, READ | WRITE, permission, **rules)


def action(
    route: str, view: View, permission: Permission | Visitors, **rules: Unpack[Rules]
) -> URLPattern:
    """Register an action: POST."""
    return _register(route, view, WRITE, permission, **rules)


def _register(
    route: str,
    view: View,
    methods: frozenset[str],
    permission: Permission | Visitors,
    name: str = "",
    **rules: Unpack[AccessRules],
) -> URLPattern:
    access = Access(
        methods=methods,
        permission=permission,
        reauthenticate=getattr(view, "reauthenticates", False),
        **rules,
    )
    name = name or view.__name__.replace("_", "-")
    return path(route, enforce(view, access=access), name=name)


def enforce(view: View, *, access: Access) -> View:
    """The view behind its access rules."""

    @wraps(view)
    def enforced(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method not in access.methods:
            return _refuse_method(request, access)
        is_posted = request.method == "POST"
        permission = (
            access.post_permission if is_posted and access.post_permission else access.permission
        )
        if isinstance(permission, Permission):
            permission.require(actor_of(request))
        return view(request, *args, **kwargs)

    enforced.access = access  # type: ignore[attr-defined]
    return enforced


def _refuse_method(request: HttpRequest, access: Access) -> HttpResponseBase:
    """405. A browser that opens the address of a form is led to the page that has the form."""
    response = HttpResponseNotAllowed(sorted(access.methods))
    if "text/html" not in request.headers.get("Accept", ""):
        return response
    if request.method == "GET" and (page := find_parent_page(request.path)):
        return redirect(page)
    context = {"methods": join_names(sorted(access.methods - {"HEAD"}))}
    response.content = render_to_string("405.html", context, request)
    return response


def access_of(request: HttpRequest, view: View) -> Access:
    """The rules that a view was registered with, or its entry in ALLAUTH.

    Raises ImproperlyConfigured for a view that has neither, so that it never runs.
    """
    access: Access | None = getattr(view, "access", None)
    name = request.resolver_match.view_name if request.resolver_match else ""
    access = access or ALLAUTH.get(name)
    if access is None:
        raise ImproperlyConfigured(
            f"The view at {request.path} has no access rules. Register it with page, form_page or "
            "action of connections.web.framework.routing."
        )
    return access


_ALL = READ | WRITE | {"OPTIONS"}
_OPEN = Access(methods=_ALL, permission=Visitors.ANYONE)
_OWN = Access(methods=_ALL, permission=Visitors.SIGNED_IN)
_OWN_SECRET = replace(_OWN, shows_secret=True)
# django-allauth registers its views itself. A name that is missing here is refused.
ALLAUTH = {
    "account_login": _OPEN,
    "account_logout": _OPEN,
    "account_inactive": _OPEN,
    "account_reset_password": _OPEN,
    "account_reset_password_done": _OPEN,
    "account_reset_password_from_key": _OPEN,
    "account_reset_password_from_key_done": _OPEN,
    "mfa_authenticate": _OPEN,
    "mfa_login_webauthn": _OPEN,
    "account_reauthenticate": _OWN,
    "account_change_password": _OWN,
    "account_set_password": _OWN,
    "mfa_index": _OWN,
    "mfa_view_recovery_codes": _OWN_SECRET,
    "mfa_download_recovery_codes": _OWN_SECRET,
    "mfa_list_webauthn": _OWN,
    "mfa_edit_webauthn": _OWN,
}
