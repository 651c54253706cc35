"""Reauthentication within five minutes, and the views that need it.

A password, a passkey or a new sign-in at the identity provider proves who the person is. A code
from an authenticator app, or a recovery code, is not enough. The session contains only the time, by
the database's clock.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, Protocol
from urllib.parse import urlsplit

from allauth.account.authentication import get_authentication_records
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from django import forms
from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables
from django_htmx.http import HttpResponseClientRedirect
from fido2.webauthn import UserVerificationRequirement

from connections.core import clock
from connections.core.secret import Secret
from connections.core.text import format_limit
from connections.models import Person
from connections.people import provider_accounts, sign_in_events
from connections.web.framework import addresses, http
from connections.web.framework.person_limits import is_first_this_minute
from connections.web.people import allauth_internals, passkeys, single_sign_on

WINDOW = timedelta(minutes=5)
WRONG_PASSWORD = "Wrong password."  # noqa: S105 - a message
TOO_MANY = f"Too many wrong attempts. Try again in {format_limit(settings.FAILED_SIGN_IN_WINDOW)}."
_SESSION_KEY = "reauthenticated"
_ACTION = "reauthenticate"


class Method(StrEnum):
    """How the person proved who they are."""

    PASSWORD = "password"  # noqa: S105 - a word, not a password
    PASSKEY = "passkey"
    PROVIDER = "provider"  # a new sign-in at the identity provider


class CheckRefusedError(Exception):
    """The proof was not accepted. The message is for the person."""


def is_recent(request: HttpRequest) -> bool:
    """Whether this session's person proved who they are within the last five minutes.

    Computed once per request.
    """
    is_fresh: bool | None = getattr(request, "_is_recently_reauthenticated", None)
    if is_fresh is None:
        is_fresh = _is_stamp_fresh(request)
        request._is_recently_reauthenticated = is_fresh  # type: ignore[attr-defined]
    return is_fresh


def _is_stamp_fresh(request: HttpRequest) -> bool:
    person, stamp = http.signed_in_person(request), request.session.get(_SESSION_KEY)
    if person is None or not isinstance(stamp, dict) or stamp.get("person") != str(person.pk):
        return False
    at = datetime.fromisoformat(stamp["at"])
    if clock.elapsed_since(at, now=http.time_of(request)) < WINDOW:
        return True
    # Removed so that setting the clock back later can't make it recent again.
    del request.session[_SESSION_KEY]
    return False


def record_reauthentication(request: HttpRequest, *, method: Method) -> None:
    """Record that the signed-in person has just reauthenticated, and store the time."""
    person = http.require_signed_in_person(request)
    sign_in_events.record_reauthentication(
        person=person, method=method, origin=http.origin_of(request)
    )
    _stamp(request, person=person)


def _stamp(request: HttpRequest, *, person: Person, age: timedelta = timedelta()) -> None:
    at = clock.now() - age
    request.session[_SESSION_KEY] = {"person": str(person.pk), "at": at.isoformat()}
    request._is_recently_reauthenticated = None  # type: ignore[attr-defined]


def stamp_sign_in(sender: Any, request: HttpRequest, user: Person, **_: Any) -> None:
    """Count a sign-in as reauthentication, from the time of the password or passkey.

    At the provider, that is the ID token's `auth_time`. Without it, the sign-in doesn't count.
    Receives Django's `user_logged_in`. A session created by code without a browser's request
    (Django's test client) has no record of the method, and counts as well.
    """
    del sender
    request.session.pop(_SESSION_KEY, None)
    if not hasattr(request, "allauth"):
        _stamp(request, person=user)
        return
    proved_at = list(filter(None, map(_proved_at, get_authentication_records(request, user))))
    if proved_at:
        # By this process's clock, because allauth took the time from it.
        now = datetime.fromtimestamp(time.time(), UTC)
        age = clock.elapsed_since(datetime.fromtimestamp(max(proved_at), UTC), now=now)
        if age < WINDOW:
            _stamp(request, person=user, age=age)


def _proved_at(record: dict[str, Any]) -> float | None:
    """When a step of a sign-in proved who the person is, in seconds since 1970. None if not."""
    if record["method"] == "provider":
        # Not the time of the step, because the provider might have remembered the person.
        return record.get("authenticated_at")
    is_password = record["method"] == "password" or record.get("chose_password")
    # A passkey used for MFA might have needed only a touch, without user verification.
    return record["at"] if is_password or record.get("passwordless") else None


@sensitive_variables("password")
def reauthenticate_by_password(request: HttpRequest, *, password: Secret) -> None:
    """Reauthenticate if this is the person's password. Raises RefusedError."""
    person = http.require_signed_in_person(request)
    _count(request, person=person)
    # Not person.check_password, which might upgrade the stored hash and thereby end the session.
    if not check_password(password.reveal(), person.password):
        raise _refused(request, person=person, message=WRONG_PASSWORD)
    ratelimit.clear(request, action=_ACTION, user=person)
    record_reauthentication(request, method=Method.PASSWORD)


def reauthenticate_by_passkey(request: HttpRequest, *, credential: dict[str, Any]) -> None:
    """Reauthenticate if the browser's response is valid. Raises RefusedError."""
    person = http.require_signed_in_person(request)
    _count(request, person=person)
    try:
        passkeys.require_user_verification(credential, request=request)
        with passkeys.refusing_malformed():
            authenticator = allauth_internals.complete_authentication(person, credential)
    except ValidationError:
        raise _refused(request, person=person, message=passkeys.WRONG_PASSKEY) from None
    finally:
        # A challenge is valid for only one response.
        allauth_internals.clear_state()
    ratelimit.clear(request, action=_ACTION, user=person)
    authenticator.record_usage()
    record_reauthentication(request, method=Method.PASSKEY)


def _count(request: HttpRequest, *, person: Person) -> None:
    if ratelimit.consume(request, action=_ACTION, user=person):
        return
    if is_first_this_minute(f"reauthentication-refused:{person.pk}"):
        sign_in_events.record_failed_reauthentication(
            person=person, origin=http.origin_of(request), is_over_limit=True
        )
    raise CheckRefusedError(TOO_MANY)


def _refused(request: HttpRequest, *, person: Person, message: str) -> CheckRefusedError:
    sign_in_events.record_failed_reauthentication(
        person=person, origin=http.origin_of(request), is_over_limit=False
    )
    return CheckRefusedError(message)


class PasswordField(forms.CharField):
    """A password that becomes a Secret when it is read, so that no log or error page shows it."""

    def to_python(self, value: Any) -> Secret:  # type: ignore[override]
        """The password as entered, as a Secret even if it is empty."""
        return Secret(value or "")

    def run_validators(self, value: Any) -> None:
        """Run no validators, because any text can be compared with the person's password."""


class ReauthenticationForm(forms.Form):
    """A password or a passkey response. Never rendered with a value."""

    password = PasswordField(required=False, strip=False)
    passkey = passkeys.PasskeyField(required=False)

    def __init__(self, posted: QueryDict) -> None:
        super().__init__(posted, prefix="step_up")
        self._posted = posted

    @property
    def is_filled_in(self) -> bool:
        """Whether a password or a passkey response was posted."""
        return any(self.data.get(self.add_prefix(name)) for name in self.fields)

    @property
    def other_fields(self) -> QueryDict:
        """The other POST fields."""
        fields = self._posted.copy()
        for name in self.fields:
            fields.pop(self.add_prefix(name), None)
        return fields


NOTHING_ENTERED = "Enter your password or use a passkey."
type View[**P] = Callable[Concatenate[HttpRequest, P], HttpResponse]


class _Guard(Protocol):
    def __call__[**P](self, view: View[P], /) -> View[P]: ...


def prompt_for(request: HttpRequest) -> dict[str, Any] | None:
    """The identity check as this request's page shows it. None while reauthentication is recent."""
    person = http.signed_in_person(request)
    if person is None or is_recent(request):
        return None
    has_passkey = Authenticator.objects.filter(user=person, type=Authenticator.Type.WEBAUTHN)
    return {
        "takes_password": person.has_usable_password(),
        "demo_password": settings.DEMO_PASSWORD if settings.IS_DEMO else "",
        "takes_passkey": has_passkey.exists(),
        # The sign-in at the identity provider. Empty for people without an account there.
        "provider_url": _provider_url(request, person),
        "provider_name": single_sign_on.provider_name(),
        # The URL of a POST that was refused because reauthentication was missing.
        "late_at": getattr(request, "_reauthentication_late_at", ""),
        # Why the password or passkey was refused.
        "problem": getattr(request, "_reauthentication_problem", ""),
        # The reauthentication page, which leads back to this one.
        "url": prompt_url(request),
        "back_url": addresses.parent_page_url(request.path),
    }


def _provider_url(request: HttpRequest, person: Person) -> str:
    if not single_sign_on.is_on():
        return ""
    if not provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER):
        return ""
    return reverse("provider-reauthentication", query={"next": _return_url(request)})


def _return_url(request: HttpRequest) -> str:
    """Where to continue after signing in at the provider. Never the URL of a POST."""
    if request.path == reverse("reauthentication"):
        return request.POST.get("next") or request.GET.get("next", "")
    if request.method == "POST":
        return addresses.parent_page_url(request.path)
    return request.get_full_path()


def requires_reauthentication(
    *,
    on_missing: Callable[..., HttpResponse],
    before_page: bool = False,
    when: Callable[[HttpRequest], bool] = lambda request: True,
) -> _Guard:
    """Let a POST reach the view only if reauthentication is recent or comes with the POST.

    `on_missing` responds to any other POST: it shows the same page with the input and the prompt,
    changes nothing, and checks the same permissions as the view. With `before_page`, a GET needs it
    too. `when` says which POSTs need it.
    """

    def decorate[**P](view: View[P]) -> View[P]:
        @wraps(view)
        def asking(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method == "POST":
                if _is_reauthenticated(request) or not when(request):
                    return view(request, *args, **kwargs)
                request._reauthentication_late_at = request.path  # type: ignore[attr-defined]
                response = on_missing(request, *args, **kwargs)
                if response.status_code == 200:
                    response.status_code = 422
                return response
            # First, so that people without permission are refused instead of prompted.
            response = view(request, *args, **kwargs)
            needs_prompt = before_page and response.status_code == 200 and not is_recent(request)
            return redirect_to_prompt(request) if needs_prompt else response

        # routing.py checks that the view's URL declares the same.
        asking.reauthenticates = True  # type: ignore[attr-defined]
        return asking

    return decorate


def _is_reauthenticated(request: HttpRequest) -> bool:
    """Whether reauthentication is recent, or has just succeeded with what the form contains."""
    form = ReauthenticationForm(request.POST)
    # The view never sees the password or passkey response.
    request.POST = form.other_fields  # type: ignore[assignment]
    if is_recent(request) or not form.is_filled_in:
        return is_recent(request)
    try:
        _reauthenticate(request, form)
    except CheckRefusedError as error:
        request._reauthentication_problem = str(error)  # type: ignore[attr-defined]
        return False
    return True


def _reauthenticate(request: HttpRequest, form: ReauthenticationForm) -> None:
    form.is_valid()
    password, passkey = form.cleaned_data.get("password"), form.cleaned_data.get("passkey")
    if password:
        reauthenticate_by_password(request, password=password)
    elif isinstance(passkey, dict):
        reauthenticate_by_passkey(request, credential=passkey)
    else:
        raise CheckRefusedError(passkeys.WRONG_PASSKEY)


def prompt_url(request: HttpRequest) -> str:
    """The URL of the reauthentication page, which then leads back to this request's page."""
    return reverse("reauthentication", query={"next": request.get_full_path()})


def redirect_to_prompt(request: HttpRequest) -> HttpResponse:
    """Redirect to the reauthentication page. A POST is neither kept nor carried out later."""
    url = prompt_url(request)
    if "HX-Request" in request.headers:
        return HttpResponseClientRedirect(url)
    return HttpResponseRedirect(url)


def reauthentication(request: HttpRequest) -> HttpResponse:
    """Reauthenticate, then redirect to where the person was going."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    to = wanted if addresses.is_local_url(request, wanted) else reverse("overview")
    if is_recent(request) or (request.method == "POST" and _is_reauthenticated(request)):
        return http.SeeOther(to)
    if request.method == "POST" and not getattr(request, "_reauthentication_problem", ""):
        request._reauthentication_problem = NOTHING_ENTERED  # type: ignore[attr-defined]
    status = 422 if request.method == "POST" else 200
    context = {"next": to, "back_url": addresses.parent_page_url(urlsplit(to).path)}
    return render(request, "people/reauthentication.html", context, status=status)


def reauthentication_passkey(request: HttpRequest) -> HttpResponseBase:
    """The options for the browser's `navigator.credentials.get`. Replaces the previous challenge.

    They require user verification (PIN, fingerprint or face), because a touch only proves that
    someone is present.
    """
    options, state = allauth_internals.get_server().authenticate_begin(
        credentials=allauth_internals.get_credentials(http.require_signed_in_person(request)),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    allauth_internals.set_state(state)
    return JsonResponse(dict(options))
