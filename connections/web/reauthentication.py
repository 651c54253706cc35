"""Proving again who one is: whether a person did so within five minutes, and how they may.

The proof is a password or a passkey; a code of an authenticator app or from paper alone is none.
When it was given stands in the session, by the database's clock; what was typed never does.
`mark` is for whoever takes a proof elsewhere, such as a provider that was asked to sign the
person in anew. connections/web/reauthentication.py guards views with it.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, Protocol
from urllib.parse import urlsplit

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from django import forms
from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve, reverse
from django.utils.http import urlencode
from django.views.decorators.debug import sensitive_variables
from django_htmx.http import HttpResponseClientRedirect
from fido2.webauthn import AuthenticationResponse, UserVerificationRequirement

from connections.core import clock
from connections.core.secret import Secret
from connections.models import Person
from connections.people import provider_accounts, sign_in_events
from connections.web import reauthentication
from connections.web.people import allauth_internals, single_sign_on
from connections.web.people.passkeys import WRONG_PASSKEY as WRONG_PASSKEY
from connections.web.people.passkeys import PasskeyField, refusing_malformed, require_own_origin
from connections.web.support import SeeOther, is_local_url, request_id_of, signed_in_person

WINDOW = timedelta(minutes=5)
WRONG_PASSWORD = "That is not your password."  # noqa: S105 - a message
TOO_MANY = "Too many wrong answers. Wait five minutes, then try again."
# Over the limit, one event in so many seconds.
REFUSAL_EVENT_EVERY = 60
_SESSION_KEY = "stepped_up"
_ACTION = "reauthenticate"


class Method(StrEnum):
    """What the person gave."""

    PASSWORD = "password"  # noqa: S105 - a word, not a password
    PASSKEY = "passkey"
    PROVIDER = "provider"  # signed in anew at the provider of their account


class RefusedError(Exception):
    """The proof was not accepted; the message is for the person."""


def is_recent(request: HttpRequest) -> bool:
    """Whether this session's person gave a password or passkey within the last five minutes.

    Asked once for each request, which is shorter than any difference.
    """
    known: bool | None = getattr(request, "_is_stepped_up", None)
    if known is None:
        known = _is_stamp_fresh(request)
        request._is_stepped_up = known  # type: ignore[attr-defined]
    return known


def _is_stamp_fresh(request: HttpRequest) -> bool:
    person, stamp = signed_in_person(request), request.session.get(_SESSION_KEY)
    if person is None or not isinstance(stamp, dict) or stamp.get("person") != str(person.pk):
        return False
    at = datetime.fromisoformat(stamp["at"])
    if clock.elapsed_since(at, now=clock.now()) < WINDOW:
        return True
    # Removed, so that a clock that is set back later can't make it recent again.
    del request.session[_SESSION_KEY]
    return False


def record_reauthentication(request: HttpRequest, *, method: Method) -> None:
    """Record that the signed-in person has just proved who they are, and remember when."""
    person = _person(request)
    sign_in_events.record_step_up(person=person, method=method, request_id=request_id_of(request))
    _stamp(request, person=person)


def _stamp(request: HttpRequest, *, person: Person, age: timedelta = timedelta()) -> None:
    at = clock.now() - age
    request.session[_SESSION_KEY] = {"person": str(person.pk), "at": at.isoformat()}
    request._is_stepped_up = None  # type: ignore[attr-defined]


def stamp_sign_in(sender: Any, request: HttpRequest, user: Person, **_: Any) -> None:
    """Count a sign-in by password or passkey as a proof, from when that was given or chosen.

    Receives Django's `user_logged_in`. A session that code makes outside of any request from a
    browser (Django's test client) has no such trail and counts as well.
    """
    del sender
    request.session.pop(_SESSION_KEY, None)
    if not hasattr(request, "allauth"):
        _stamp(request, person=user)
        return
    given = [one["at"] for one in get_authentication_records(request, user) if _is_proof(one)]
    if given:
        # By this process's clock, which also wrote when it was given.
        now = datetime.fromtimestamp(time.time(), UTC)
        age = clock.elapsed_since(datetime.fromtimestamp(max(given), UTC), now=now)
        if age < WINDOW:
            _stamp(request, person=user, age=age)


def _is_proof(record: dict[str, Any]) -> bool:
    is_password = record["method"] == "password" or record.get("chose_password")
    # As a second factor it was perhaps merely touched: only alone must it have checked its owner.
    return bool(is_password or record.get("passwordless"))


def available_methods(person: Person) -> frozenset[Method]:
    """What a person could give here; empty for one who only ever came by a link or a provider."""
    ways = set()
    if person.has_usable_password():
        ways.add(Method.PASSWORD)
    if Authenticator.objects.filter(user=person, type=Authenticator.Type.WEBAUTHN).exists():
        ways.add(Method.PASSKEY)
    return frozenset(ways)


@sensitive_variables("password")
def reauthenticate_by_password(request: HttpRequest, *, password: Secret) -> None:
    """Mark the session if that is the person's password. Raises RefusedError."""
    person = _person(request)
    _count(request, person=person)
    # Not the person's own check_password: it may renew the hash, which would end the session.
    if not check_password(password.reveal(), person.password):
        raise _refused(request, person=person, message=WRONG_PASSWORD)
    ratelimit.clear(request, action=_ACTION, user=person)
    record_reauthentication(request, method=Method.PASSWORD)


def passkey_challenge(request: HttpRequest) -> dict[str, Any]:
    """The options for the browser's `navigator.credentials.get`.

    They ask for a key that checks its owner (by PIN, finger or face): one that is merely touched
    proves that somebody sits there.
    """
    options, state = allauth_internals.get_server().authenticate_begin(
        credentials=allauth_internals.get_credentials(_person(request)),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    allauth_internals.set_state(state)
    return dict(options)


def reauthenticate_by_passkey(request: HttpRequest, *, credential: dict[str, Any]) -> None:
    """Mark the session if the browser's answer is right. Raises RefusedError."""
    person = _person(request)
    _count(request, person=person)
    try:
        require_user_verification(credential, request=request)
        with refusing_malformed():
            authenticator = allauth_internals.complete_authentication(person, credential)
    except ValidationError:
        raise _refused(request, person=person, message=WRONG_PASSKEY) from None
    finally:
        # A challenge is for one answer.
        allauth_internals.clear_state()
    ratelimit.clear(request, action=_ACTION, user=person)
    authenticator.record_usage()
    record_reauthentication(request, method=Method.PASSKEY)


def require_user_verification(credential: dict[str, Any], *, request: HttpRequest) -> None:
    """Raise ValidationError unless the key says, in what it signs, that it checked its owner.

    Asking for it is not enough: allauth keeps one challenge for all its forms, and one of a
    second factor or of a new key asks for less.
    """
    answer = parse_passkey_response(credential, request=request)
    if not answer.response.authenticator_data.is_user_verified():
        raise ValidationError(WRONG_PASSKEY)


def parse_passkey_response(
    credential: dict[str, Any], *, request: HttpRequest
) -> AuthenticationResponse:
    """What the browser said of a key, read.

    Raises ValidationError when that is no such answer, or one given to another origin.
    """
    with refusing_malformed():
        answer: AuthenticationResponse = allauth_internals.parse_authentication_response(credential)
        require_own_origin(answer.response.client_data, request)
    return answer


def _person(request: HttpRequest) -> Person:
    person = signed_in_person(request)
    if person is None:
        raise RefusedError("Sign in first.")
    return person


def _count(request: HttpRequest, *, person: Person) -> None:
    if ratelimit.consume(request, action=_ACTION, user=person):
        return
    if cache.add(f"orgadmin:step-ups-refused:{person.pk}", True, timeout=REFUSAL_EVENT_EVERY):
        _record_failure(request, person=person, is_over_limit=True)
    raise RefusedError(TOO_MANY)


def _refused(request: HttpRequest, *, person: Person, message: str) -> RefusedError:
    _record_failure(request, person=person, is_over_limit=False)
    return RefusedError(message)


def _record_failure(request: HttpRequest, *, person: Person, is_over_limit: bool) -> None:
    sign_in_events.record_failed_step_up(
        person=person,
        address=get_adapter().get_client_ip(request),
        is_over_limit=is_over_limit,
        request_id=request_id_of(request),
    )


class PasswordField(forms.CharField):
    """A password: a Secret from the moment it is read, so that nothing on its way shows it."""

    def to_python(self, value: Any) -> Secret:  # type: ignore[override]
        """The password as it was typed; an empty one is a Secret too."""
        return Secret(value or "")

    def run_validators(self, value: Any) -> None:
        """None: whatever was typed is right or wrong, and the person's password decides."""


class ReauthenticationForm(forms.Form):
    """A password, or what the browser says for a passkey; never rendered with a value."""

    password = PasswordField(required=False, strip=False)
    passkey = PasskeyField(required=False)

    def __init__(self, posted: QueryDict) -> None:
        super().__init__(posted, prefix="step_up")
        self._posted = posted

    @property
    def is_filled_in(self) -> bool:
        """Whether there is an answer at all."""
        return any(self.data.get(self.add_prefix(name)) for name in self.fields)

    @property
    def other_fields(self) -> QueryDict:
        """Everything else that was posted."""
        rest = self._posted.copy()
        for name in self.fields:
            rest.pop(self.add_prefix(name), None)
        return rest


NOTHING_ENTERED = "Give your password or use a passkey."
type View[**P] = Callable[Concatenate[HttpRequest, P], HttpResponse]


class _Guard(Protocol):
    def __call__[**P](self, view: View[P], /) -> View[P]: ...


@dataclass(frozen=True, kw_only=True)
class ReauthPrompt:
    """What a form shows while its act needs a proof."""

    takes_password: bool
    takes_passkey: bool
    # Where to prove it at the provider; empty for whoever has no account there.
    provider_url: str
    provider_name: str
    # Where a POST came without a proof, its address: nothing was done. Else empty.
    late_at: str
    # What was wrong with the proof that was given; empty when none was.
    problem: str
    # The page on which it is asked, to come back from.
    url: str
    # Where to go without giving one.
    back_url: str


def prompt_for(request: HttpRequest) -> ReauthPrompt | None:
    """The question for this request's page; None while no proof is needed."""
    person = signed_in_person(request)
    if person is None or reauthentication.is_recent(request):
        return None
    ways = reauthentication.available_methods(person)
    return ReauthPrompt(
        takes_password=Method.PASSWORD in ways,
        takes_passkey=Method.PASSKEY in ways,
        provider_url=_provider_url(request, person),
        provider_name=single_sign_on.provider_name(),
        late_at=getattr(request, "_step_up_late_at", ""),
        problem=getattr(request, "_step_up_problem", ""),
        url=prompt_url(request),
        back_url=parent_page_url(request.path),
    )


def _provider_url(request: HttpRequest, person: Person) -> str:
    if not single_sign_on.is_on():
        return ""
    if not provider_accounts.account_of(person=person, issuer=settings.OIDC_ISSUER):
        return ""
    return f"{reverse('provider-step-up')}?{urlencode({'next': _return_url(request)})}"


def _return_url(request: HttpRequest) -> str:
    """Where to go on after proving it elsewhere: no address of a POST."""
    if request.path == reverse("step-up"):
        return request.POST.get("next") or request.GET.get("next", "")
    if request.method == "POST":
        return parent_page_url(request.path)
    return request.get_full_path()


def parent_page_url(path: str) -> str:
    """The page on which an act was chosen: its own address or the one above, else the overview."""
    for address in (path, f"{path.rstrip('/').rpartition('/')[0]}/"):
        with suppress(Resolver404):
            if (resolve(address).url_name or "").endswith(("-detail", "-list")):
                return address
    return reverse("overview")


def requires_reauthentication(
    *,
    on_missing: Callable[..., HttpResponse],
    before_page: bool = False,
    when: Callable[[HttpRequest], bool] = lambda request: True,
) -> _Guard:
    """Let a POST reach the view only with a proof of the last five minutes, or a right one in it.

    `on_missing` answers any other POST: it shows the page that was sent, with everything typed
    and with the question, does nothing, and asks the same permissions as the view.
    `before_page`: the page is not even shown before. `when` says which POSTs need a proof.
    """

    def decorate[**P](view: View[P]) -> View[P]:
        @wraps(view)
        def asking(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method == "POST":
                if _is_reauthenticated(request) or not when(request):
                    return view(request, *args, **kwargs)
                request._step_up_late_at = request.path  # type: ignore[attr-defined]
                response = on_missing(request, *args, **kwargs)
                if response.status_code == 200:
                    response.status_code = 422
                return response
            # Run first, since whoever may not see the page is told so and not asked.
            response = view(request, *args, **kwargs)
            is_asked = (
                before_page
                and response.status_code == 200
                and not reauthentication.is_recent(request)
            )
            return redirect_to_prompt(request) if is_asked else response

        # The URL of the view declares the same: routing.py holds the two together.
        asking.reauthenticates = True  # type: ignore[attr-defined]
        return asking

    return decorate


def _is_reauthenticated(request: HttpRequest) -> bool:
    """Whether the session is recent, or becomes so by an answer that came with the form."""
    form = ReauthenticationForm(request.POST)
    # Nothing that handles the rest of what was typed gets to see it.
    request.POST = form.other_fields  # type: ignore[assignment]
    if reauthentication.is_recent(request) or not form.is_filled_in:
        return reauthentication.is_recent(request)
    try:
        _reauthenticate(request, form)
    except RefusedError as error:
        request._step_up_problem = str(error)  # type: ignore[attr-defined]
        return False
    return True


def _reauthenticate(request: HttpRequest, form: ReauthenticationForm) -> None:
    form.is_valid()
    password, passkey = form.cleaned_data.get("password"), form.cleaned_data.get("passkey")
    if password:
        reauthentication.reauthenticate_by_password(request, password=password)
    elif isinstance(passkey, dict):
        reauthentication.reauthenticate_by_passkey(request, credential=passkey)
    else:
        raise RefusedError(reauthentication.WRONG_PASSKEY)


def prompt_url(request: HttpRequest) -> str:
    """The page that asks, and then leads to the page of this request."""
    return f"{reverse('step-up')}?{urlencode({'next': request.get_full_path()})}"


def redirect_to_prompt(request: HttpRequest) -> HttpResponse:
    """Lead there with nothing but the address: a POST is neither kept nor done afterwards."""
    url = prompt_url(request)
    if "HX-Request" in request.headers:
        return HttpResponseClientRedirect(url)
    return HttpResponseRedirect(url)


def reauthentication_page(request: HttpRequest) -> HttpResponse:
    """Ask who it is, then lead to where the person was going."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    to = wanted if is_local_url(request, wanted) else reverse("overview")
    if reauthentication.is_recent(request) or (
        request.method == "POST" and _is_reauthenticated(request)
    ):
        return SeeOther(to)
    if request.method == "POST" and not getattr(request, "_step_up_problem", ""):
        request._step_up_problem = NOTHING_ENTERED  # type: ignore[attr-defined]
    status = 422 if request.method == "POST" else 200
    context = {"next": to, "back_url": parent_page_url(urlsplit(to).path)}
    return render(request, "connections/reauthentication.html", context, status=status)


def reauthentication_passkey(request: HttpRequest) -> HttpResponseBase:
    """What the browser needs to ask for a passkey; replaces the challenge before it."""
    return JsonResponse(reauthentication.passkey_challenge(request))
