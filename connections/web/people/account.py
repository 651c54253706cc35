"""Each person's own account: sessions, one-time links to sign in, emails and the theme."""

from collections.abc import Callable
from typing import Any

from allauth.account.utils import perform_login
from allauth.core import ratelimit
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections.access.actor import Actor
from connections.audit.texts import browser_name
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.text import pluralize
from connections.models import Person
from connections.models.sessions import hash_of_session_key, public_id_of
from connections.people import sessions, sign_in_links
from connections.people.choices import EmailChoice, set_email_choice, set_single_keys
from connections.web.framework import addresses, http
from connections.web.framework.person_limits import too_many_requests
from connections.web.people.allauth_internals import record_authentication
from connections.web.people.forms import LinkForm, SetUpForm, SignInLinkForm

# What a person can choose, stored in a cookie. The first value is the default.
THEMES = ("system", "light", "dark")


def session_rows(request: HttpRequest, person: Person) -> list[dict[str, Any]]:
    """The person's open sessions: the current one, then the others, newest first."""
    current = _current_session_id(request)
    rows = [
        {
            "public_id": session.public_id,
            "at": session.at,
            "address": session.address,
            "browser": browser_name(session.agent),
            "is_current": session.public_id == current,
        }
        for session in sessions.list_sessions(person=person)
    ]
    return sorted(rows, key=lambda row: not row["is_current"])


def session_list(request: HttpRequest) -> HttpResponse:
    """The signed-in person's sessions."""
    rows = session_rows(request, http.require_signed_in_person(request))
    return render(request, "people/session_list.html", {"sessions": rows})


def change_emails_set(request: HttpRequest) -> HttpResponse:
    """Turn the signed-in person's emails about changes on or off."""
    is_wanted = _set_email_choice(request, EmailChoice.CHANGES)
    state = "on" if is_wanted else "off"
    messages.success(request, f"Emails about changes and access reviews are {state}.")
    return http.SeeOther(reverse("mfa_index"))


def only_alerts_set(request: HttpRequest) -> HttpResponse:
    """Limit the signed-in person's emails to alerts, or send all of them again."""
    is_wanted = _set_email_choice(request, EmailChoice.ONLY_ALERTS)
    which = "only alerts" if is_wanted else "all notifications"
    messages.success(request, f"You get {which} by email.")
    return http.SeeOther(reverse("mfa_index"))


def shortcuts(request: HttpRequest) -> HttpResponse:
    """The keys that do something, and whether those of one character do, as the person chooses."""
    person = http.require_signed_in_person(request)
    if request.method == "POST":
        is_wanted = request.POST.get("wanted") == "yes"
        set_single_keys(actor=http.actor_of(request), person=person, is_wanted=is_wanted)
        messages.success(request, f"Keys of one character are {'on' if is_wanted else 'off'}.")
        return http.SeeOther(reverse("shortcuts"))
    return render(request, "people/shortcuts.html")


def _set_email_choice(request: HttpRequest, choice: EmailChoice) -> bool:
    """Set the choice as posted. Return whether it is on."""
    is_wanted = request.POST.get("wanted") == "yes"
    set_email_choice(
        actor=http.actor_of(request),
        person=http.require_signed_in_person(request),
        choice=choice,
        is_wanted=is_wanted,
    )
    return is_wanted


def session_end(request: HttpRequest) -> HttpResponse:
    """End one of the signed-in person's sessions or, without `session`, all others."""
    text = end_sessions(
        actor=http.actor_of(request),
        person=http.require_signed_in_person(request),
        session=request.POST.get("session", ""),
        except_id=_current_session_id(request),
    )
    messages.success(request, text)
    return http.SeeOther(reverse("session-list"))


def end_sessions(*, actor: Actor, person: Person, session: str, except_id: str = "") -> str:
    """End one session or, without one, all except `except_id`. Returns what happened."""
    if session:
        is_ended = sessions.end_session(actor=actor, person=person, public_id=session)
        return "Session ended." if is_ended else "This session had already ended."
    count = sessions.end_sessions(actor=actor, person=person, except_id=except_id)
    return f"{pluralize(count, 'session')} ended."


def _current_session_id(request: HttpRequest) -> str:
    return public_id_of(hash_of_session_key(request.session.session_key or ""))


# Its limit is in ACCOUNT_RATE_LIMITS.
USE_OF_LINKS = "use_of_links"
THEME_AGE = 365 * 24 * 60 * 60


@sensitive_post_parameters("token", "password")
def setup(request: HttpRequest) -> HttpResponse:
    """The page of the setup link. It adds the first administrator and signs them in."""
    if Person.objects.exists():
        return redirect("overview")
    return _use_link(
        request,
        SetUpForm,
        redeem=sign_in_links.set_up_first_administrator,
        template="people/setup.html",
    )


@sensitive_post_parameters("token", "password")
def sign_in_link(request: HttpRequest) -> HttpResponse:
    """The page of a sign-in link. It sets a password if one is entered, and signs the person in."""
    return _use_link(
        request,
        SignInLinkForm,
        redeem=sign_in_links.use_sign_in_link,
        template="people/sign_in_link.html",
    )


def _use_link(
    request: HttpRequest,
    form_class: type[LinkForm],
    *,
    redeem: Callable[..., Person],
    template: str,
) -> HttpResponse:
    """The form of a one-time link. Once `redeem` has accepted it, its person is signed in."""
    if not ratelimit.consume(request, action=USE_OF_LINKS):
        return too_many_requests(request)
    form = form_class(request.POST or None)
    if form.is_valid():
        try:
            person = redeem(**form.cleaned_data, request_id=http.request_id_of(request))
        except InvalidInputError as error:
            form.add_errors(error)
        except ConflictError as error:
            form.add_error(None, str(error))
        else:
            # Through allauth, which still requires MFA and starts a new session.
            record_authentication(
                request,
                person,
                "sign_in_link",
                chose_password=bool(form.cleaned_data["password"]),
            )
            response: HttpResponse = perform_login(
                request, person, redirect_url=reverse("overview")
            )
            return response
    return render(request, template, {"form": form}, status=422 if form.is_bound else 200)


def appearance_set(request: HttpRequest) -> HttpResponse:
    """Store the theme in a cookie and redirect back."""
    back = request.POST.get("next", "")
    response = http.SeeOther(back if addresses.is_local_url(request, back) else reverse("overview"))
    theme = request.POST.get("theme")
    if theme in THEMES:
        response.set_cookie(
            "theme",
            theme,
            max_age=THEME_AGE,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response
