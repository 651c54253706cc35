"""Pages about people, sessions, sign-in links and the theme."""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.utils import perform_login
from allauth.core import ratelimit
from django.conf import settings
from django.contrib import messages
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections.audit.texts import brief_sentence, browser_name
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.own_address import own_origin
from connections.core.text import pluralize
from connections.models import AuditEvent, Person, Role, with_values
from connections.models.sessions import hash_of_session_key, public_id_of
from connections.people import people, provider_accounts, sessions
from connections.people.people import get_stored_roles, list_authenticators
from connections.web.framework.context_processors import THEMES
from connections.web.framework.forms import ServiceForm
from connections.web.framework.rate_limits import too_many_requests
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.framework.support import (
    SeeOther,
    actor_of,
    is_local_url,
    request_id_of,
    require_signed_in_person,
)
from connections.web.people import single_sign_on
from connections.web.people.allauth_internals import record_authentication
from connections.web.people.forms import (
    EmailForm,
    LinkForm,
    MakeLinkForm,
    PersonForm,
    ProviderAccountForm,
    RolesForm,
    SetUpForm,
    SignInLinkForm,
)

EVENTS_SHOWN = 20


def person_list(request: HttpRequest) -> HttpResponse:
    """Everyone with an account."""
    everyone = (
        Person.objects.prefetch_related("groups")
        .annotate(has_mfa=Exists(list_authenticators(OuterRef("pk"))))
        .order_by("-is_active", "username")
    )
    return render(request, "people/list.html", {"people": everyone})


def _new_page(request: HttpRequest, form: PersonForm | None = None) -> HttpResponse:
    form = form or PersonForm(request.POST or None)
    status = 422 if form.is_bound else 200
    return render(request, "people/new.html", {"form": form}, status=status)


@requires_reauthentication(on_missing=_new_page, before_page=True)
def person_new(request: HttpRequest) -> HttpResponse:
    """Add a person. The response shows their sign-in link once."""
    form = PersonForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.add_person(actor=actor_of(request), **form.cleaned_data)
        except InvalidInputError as error:
            form.add_errors(error)
        else:
            return _page_with_new_link(request, person, removes_second_factor=False)
    return _new_page(request, form)


def person_detail(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One person: roles, access, sessions and latest events."""
    return _detail(request, get_object_or_404(Person, pk=pk), {})


type _PersonView = Callable[[HttpRequest, uuid.UUID], HttpResponse]


def _person_action(
    form_class: type[ServiceForm] = ServiceForm, *, form_name: str = "form"
) -> Callable[[Callable[..., str | HttpResponse]], _PersonView]:
    """A view for one form on a person's page, which needs reauthentication.

    The decorated function gets the person and the form's cleaned data. It returns the message for
    the page that follows, or a response. If the action is refused, the page comes back with the
    form as it was filled in: with 422 for the form's errors and InvalidInputError, and with 409 for
    ConflictError.
    """

    def decorate(act: Callable[..., str | HttpResponse]) -> _PersonView:
        def page_with_input(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
            person = get_object_or_404(Person, pk=pk)
            return _detail(request, person, {form_name: form_class(request.POST)})

        @requires_reauthentication(on_missing=page_with_input)
        @wraps(act)
        def view(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
            person, form = get_object_or_404(Person, pk=pk), form_class(request.POST)
            try:
                form.require_valid()
                result = act(request, person, **form.cleaned_data)
            except InvalidInputError as error:
                form.add_errors(error)
                return _detail(request, person, {form_name: form}, status=422)
            except ConflictError as error:
                return _detail(request, person, {"problem": str(error)}, status=409)
            if isinstance(result, HttpResponse):
                return result
            messages.success(request, result)
            return SeeOther(reverse("person-detail", args=[pk]))

        return view

    return decorate


@_person_action(RolesForm, form_name="roles_form")
def person_roles(
    request: HttpRequest, person: Person, *, roles: list[Role], is_administrator: bool
) -> str:
    """Replace the person's roles."""
    people.set_roles(
        actor=actor_of(request), person=person, roles=roles, is_administrator=is_administrator
    )
    return f"Roles of {person.display_name} saved."


@_person_action()
def person_break_glass(request: HttpRequest, person: Person) -> str:
    """Grant or revoke the permission to use break glass."""
    is_allowed = request.POST.get("allow") == "yes"
    people.set_break_glass(actor=actor_of(request), person=person, is_allowed=is_allowed)
    if is_allowed:
        return f"{person.display_name} can now use break glass."
    return f"{person.display_name} can no longer use break glass."


@_person_action()
def person_disable(request: HttpRequest, person: Person) -> str:
    """Disable a person."""
    people.disable_person(actor=actor_of(request), person=person)
    return f"{person.display_name} is disabled and signed out everywhere."


@_person_action()
def person_enable(request: HttpRequest, person: Person) -> str:
    """Enable a disabled person."""
    people.enable_person(actor=actor_of(request), person=person)
    return f"{person.display_name} can sign in again."


@_person_action(MakeLinkForm, form_name="link_form")
def person_link(
    request: HttpRequest, person: Person, *, removes_second_factor: bool
) -> HttpResponse:
    """Make a sign-in link and show it, once."""
    return _page_with_new_link(request, person, removes_second_factor=removes_second_factor)


def _page_with_new_link(
    request: HttpRequest, person: Person, *, removes_second_factor: bool
) -> HttpResponse:
    # No redirect, because that would require storing the token.
    now = clock.now()
    link = people.make_sign_in_link(
        actor=actor_of(request),
        person=person,
        now=now,
        removes_second_factor=removes_second_factor,
    )
    shown = {
        "link": f"{own_origin(request)}{link}",
        "link_expires_at": now + people.SIGN_IN_LINK_LIFETIME,
        "link_removes_second_factor": removes_second_factor,
    }
    return _detail(request, person, shown)


@_person_action()
def person_sessions_end(request: HttpRequest, person: Person) -> HttpResponse:
    """End one session of a person or, without `session`, all of them."""
    return _end_sessions(
        request, person, except_id="", to=reverse("person-detail", kwargs={"pk": person.pk})
    )


@_person_action(EmailForm, form_name="email_form")
def person_email(request: HttpRequest, person: Person, *, email: str) -> str:
    """Change a person's email address."""
    people.change_email(actor=actor_of(request), person=person, email=email)
    return f"Email of {person.display_name} saved."


@_person_action(ProviderAccountForm, form_name="account_form")
def person_provider(request: HttpRequest, person: Person, *, subject: str) -> str:
    """Connect the provider account with the entered subject, or disconnect the current one."""
    actor, issuer = actor_of(request), settings.OIDC_ISSUER
    if "disconnect" in request.POST:
        provider_accounts.disconnect_account(actor=actor, person=person, issuer=issuer)
        return f"Account disconnected. {person.display_name} is signed out everywhere."
    single_sign_on.require_provider()
    provider_accounts.connect_account(actor=actor, person=person, issuer=issuer, subject=subject)
    return "Account connected."


def _detail(
    request: HttpRequest, person: Person, extra: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    initial = {
        "roles": [role.value for role in get_stored_roles(person)],
        "is_administrator": person.is_superuser,
    }
    about = Q(actor_id=person.pk) | Q(subject_type="person", subject_id=str(person.pk))
    latest = AuditEvent.objects.filter(about).order_by("-seq")[:EVENTS_SHOWN]
    context = {
        "person": person,
        "has_mfa": list_authenticators(person.pk).exists(),
        "roles_form": RolesForm(initial=initial),
        "email_form": EmailForm(initial={"email": person.email}),
        "link_form": MakeLinkForm(),
        "sessions": _session_rows(request, person),
        # The session to end, if that still needs reauthentication.
        "ending": request.POST.get("session", ""),
        "account_form": ProviderAccountForm(),
        "account": provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER),
        "events": [(event, brief_sentence(event)) for event in with_values(latest)],
    } | extra
    return render(request, "people/detail.html", context, status=status)


def _session_rows(request: HttpRequest, person: Person) -> list[dict[str, Any]]:
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
    rows = _session_rows(request, require_signed_in_person(request))
    return render(request, "people/session_list.html", {"sessions": rows})


def change_emails_set(request: HttpRequest) -> HttpResponse:
    """Turn the signed-in person's emails about changes on or off."""
    is_wanted = request.POST.get("wanted") == "yes"
    people.set_change_emails(
        actor=actor_of(request), person=require_signed_in_person(request), is_wanted=is_wanted
    )
    state = "on" if is_wanted else "off"
    messages.success(request, f"Emails about changes and access reviews are {state}.")
    return SeeOther(reverse("mfa_index"))


def session_end(request: HttpRequest) -> HttpResponse:
    """End one of the signed-in person's sessions or, without `session`, all others."""
    return _end_sessions(
        request,
        require_signed_in_person(request),
        except_id=_current_session_id(request),
        to=reverse("session-list"),
    )


def _end_sessions(request: HttpRequest, person: Person, *, except_id: str, to: str) -> HttpResponse:
    actor, one = actor_of(request), request.POST.get("session", "")
    if one:
        is_ended = sessions.end_session(actor=actor, person=person, public_id=one)
        text = "Session ended." if is_ended else "This session had already ended."
    else:
        count = sessions.end_sessions(actor=actor, person=person, except_id=except_id)
        text = f"{pluralize(count, 'session')} ended."
    messages.success(request, text)
    return SeeOther(to)


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
        redeem=people.set_up_first_administrator,
        template="people/setup.html",
    )


@sensitive_post_parameters("token", "password")
def sign_in_link(request: HttpRequest) -> HttpResponse:
    """The page of a sign-in link. It sets a password if one is entered, and signs the person in."""
    return _use_link(
        request,
        SignInLinkForm,
        redeem=people.use_sign_in_link,
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
            person = redeem(**form.cleaned_data, request_id=request_id_of(request))
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
    response = SeeOther(back if is_local_url(request, back) else reverse("overview"))
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
