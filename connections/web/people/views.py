"""Pages about people, sessions, sign-in links and the theme."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.account.utils import perform_login
from allauth.core import ratelimit
from allauth.core.ratelimit import respond_429
from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections import wording
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import AuditEvent, Person, with_values
from connections.models.sessions import hash_of_session_key, public_id_of
from connections.people import people, provider_accounts, sessions
from connections.people.people import change_email, get_stored_roles, list_authenticators
from connections.web.context_processors import THEMES
from connections.web.people import single_sign_on
from connections.web.people.allauth_internals import record_authentication
from connections.web.people.forms import (
    EmailForm,
    MakeLinkForm,
    PersonForm,
    ProviderAccountForm,
    RolesForm,
    SetUpForm,
    SignInLinkForm,
)
from connections.web.reauthentication import requires_reauthentication
from connections.web.support import (
    SeeOther,
    actor_of,
    is_local_url,
    request_id_of,
    signed_in_person,
)
from connections.wording.events import browser_name

EVENTS_SHOWN = 20


def person_list(request: HttpRequest) -> HttpResponse:
    """Everyone with an account."""
    everyone = (
        Person.objects.prefetch_related("groups")
        .annotate(has_second_factor=Exists(list_authenticators(OuterRef("pk"))))
        .order_by("-is_active", "username")
    )
    return render(request, "connections/person_list.html", {"people": everyone})


def _new_page(request: HttpRequest, form: PersonForm | None = None) -> HttpResponse:
    form = form or PersonForm(request.POST or None)
    status = 422 if form.is_bound else 200
    return render(request, "connections/person_new.html", {"form": form}, status=status)


@requires_reauthentication(on_missing=_new_page, before_page=True)
def person_new(request: HttpRequest) -> HttpResponse:
    """Add a person; the response shows their sign-in link, once."""
    actor = actor_of(request)
    form = PersonForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.add_person(actor=actor, **form.cleaned_data)
        except InvalidInputError as error:
            form.add_errors(error)
        else:
            return _with_new_link(request, actor, person, removes_second_factor=False)
    return _new_page(request, form)


def person_detail(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One person: roles, access, sessions, latest events."""
    return _detail(request, get_object_or_404(Person, pk=pk))


def _page_with_input(
    **typed_into: type[forms.Form],
) -> Callable[[HttpRequest, uuid.UUID], HttpResponse]:
    """The `on_missing` of the actions on a person: their page, with the input in the form."""

    def on_missing(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        typed: dict[str, Any] = {name: form(request.POST) for name, form in typed_into.items()}
        ending = request.POST.get("session", "")
        return _detail(request, get_object_or_404(Person, pk=pk), ending=ending, **typed)

    return on_missing


@requires_reauthentication(on_missing=_page_with_input(roles_form=RolesForm))
def person_roles(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Replace the person's roles."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    form = RolesForm(request.POST)
    if not form.is_valid():
        return _detail(request, person, status=422, roles_form=form)
    try:
        people.set_roles(actor=actor, person=person, **form.cleaned_data)
    except ConflictError as error:
        return _detail(request, person, status=409, problem=str(error))
    messages.success(request, f"The roles of {person.display_name} are stored.")
    return redirect("person-detail", pk=pk)


@requires_reauthentication(on_missing=_page_with_input())
def person_break_glass(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Grant or revoke the permission to use break glass."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    is_allowed = request.POST.get("allow") == "yes"
    try:
        people.allow_break_glass(actor=actor, person=person, is_allowed=is_allowed)
    except ConflictError as error:
        return _detail(request, person, status=409, problem=str(error))
    may = "may break glass" if is_allowed else "may not break glass any more"
    messages.success(request, f"{person.display_name} {may}.")
    return redirect("person-detail", pk=pk)


@requires_reauthentication(on_missing=_page_with_input())
def person_disable(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Disable a person."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    try:
        people.disable_person(actor=actor, person=person)
    except ConflictError as error:
        return _detail(request, person, status=409, problem=str(error))
    messages.success(request, f"{person.display_name} is disabled and signed out everywhere.")
    return redirect("person-detail", pk=pk)


@requires_reauthentication(on_missing=_page_with_input())
def person_enable(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Enable a disabled person."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    people.enable_person(actor=actor, person=person)
    messages.success(request, f"{person.display_name} may sign in again.")
    return redirect("person-detail", pk=pk)


@requires_reauthentication(on_missing=_page_with_input(link_form=MakeLinkForm))
def person_link(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Make a sign-in link and show it, once."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    form = MakeLinkForm(request.POST)
    form.is_valid()
    removes = bool(form.cleaned_data.get("removes_second_factor"))
    try:
        return _with_new_link(request, actor, person, removes_second_factor=removes)
    except ConflictError as error:
        return _detail(request, person, status=409, problem=str(error))


@requires_reauthentication(on_missing=_page_with_input())
def person_sessions_end(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """End one session of a person, or (without `session`) all of them."""
    person = get_object_or_404(Person, pk=pk)
    return end_sessions(request, person, but="", to=reverse("person-detail", kwargs={"pk": pk}))


@requires_reauthentication(on_missing=_page_with_input(email_form=EmailForm))
def person_email(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Change a person's email address."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    form = EmailForm(request.POST)
    if form.is_valid():
        try:
            change_email(actor=actor, person=person, **form.cleaned_data)
        except InvalidInputError as error:
            form.add_errors(error)
        else:
            messages.success(request, f"The e-mail address of {person.display_name} is stored.")
            return redirect("person-detail", pk=pk)
    return _detail(request, person, status=422, email_form=form)


@requires_reauthentication(on_missing=_page_with_input(account_form=ProviderAccountForm))
def person_provider(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Connect the provider account with the entered subject, or disconnect the current one."""
    actor = actor_of(request)
    person = get_object_or_404(Person, pk=pk)
    if "disconnect" in request.POST:
        provider_accounts.disconnect_account(
            actor=actor, person=person, issuer=settings.OIDC_ISSUER
        )
        messages.success(request, "The account is disconnected and the person signed out.")
        return redirect("person-detail", pk=pk)
    form = ProviderAccountForm(request.POST)
    if not single_sign_on.is_on() or not form.is_valid():
        return _detail(request, person, status=422, account_form=form)
    try:
        provider_accounts.connect_account(
            actor=actor,
            person=person,
            issuer=settings.OIDC_ISSUER,
            subject=form.cleaned_data["subject"],
        )
    except InvalidInputError as error:
        form.add_errors(error)
        return _detail(request, person, status=422, account_form=form)
    except ConflictError as error:
        return _detail(request, person, status=409, problem=str(error))
    messages.success(request, "The account is connected.")
    return redirect("person-detail", pk=pk)


def _with_new_link(
    request: HttpRequest, actor: Actor, person: Person, *, removes_second_factor: bool
) -> HttpResponse:
    # No redirect, since the token would have to be stored for it.
    now = clock.now()
    link = people.make_sign_in_link(
        actor=actor, person=person, now=now, removes_second_factor=removes_second_factor
    )
    return _detail(
        request,
        person,
        link=request.build_absolute_uri(link),
        link_expires_at=now + people.SIGN_IN_LINK_LIFETIME,
        link_removes_second_factor=removes_second_factor,
    )


def _detail(
    request: HttpRequest, person: Person, *, status: int = 200, **extra: Any
) -> HttpResponse:
    initial = {
        "roles": [role.value for role in get_stored_roles(person)],
        "is_administrator": person.is_superuser,
    }
    about = Q(actor_id=person.pk) | Q(subject_type="person", subject_id=str(person.pk))
    latest = AuditEvent.objects.filter(about).order_by("-seq")[:EVENTS_SHOWN]
    context = {
        "person": person,
        "has_second_factor": list_authenticators(person.pk).exists(),
        "roles_form": RolesForm(initial=initial),
        "email_form": EmailForm(initial={"email": person.email}),
        "link_form": MakeLinkForm(),
        "sessions": session_rows(request, person),
        "account_form": ProviderAccountForm(),
        "account": provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER),
        "events": [(event, wording.brief_sentence(event)) for event in with_values(latest)],
        **extra,
    }
    return render(request, "connections/person_detail.html", context, status=status)


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """One session of a person."""

    public_id: str
    at: datetime | None
    address: str
    browser: str
    is_current: bool


def session_rows(request: HttpRequest, person: Person) -> list[SessionRow]:
    """The person's open sessions: the current one first, then the newest."""
    current = _current_session_id(request)
    rows = [
        SessionRow(
            public_id=one.public_id,
            at=one.at,
            address=one.address,
            browser=browser_name(one.agent),
            is_current=one.public_id == current,
        )
        for one in sessions.list_sessions(person=person)
    ]
    return sorted(rows, key=lambda row: not row.is_current)


def session_list(request: HttpRequest) -> HttpResponse:
    """The signed-in person's sessions."""
    rows = session_rows(request, _own_person(request))
    return render(request, "connections/session_list.html", {"sessions": rows})


def session_end(request: HttpRequest) -> HttpResponse:
    """End one of the signed-in person's sessions, or (without `session`) all others."""
    person = _own_person(request)
    return end_sessions(
        request, person, but=_current_session_id(request), to=reverse("session-list")
    )


def end_sessions(request: HttpRequest, person: Person, *, but: str, to: str) -> HttpResponse:
    """End the posted session, or all except `but`, and redirect."""
    actor, one = actor_of(request), request.POST.get("session", "")
    if one:
        is_ended = sessions.end_session(actor=actor, person=person, public_id=one)
        text = "That session is ended." if is_ended else "That session had ended already."
    else:
        count = sessions.end_sessions(actor=actor, person=person, except_id=but)
        text = f"{count} session{'s are' if count != 1 else ' is'} ended."
    messages.success(request, text)
    return SeeOther(to)


def _own_person(request: HttpRequest) -> Person:
    person = signed_in_person(request)
    if person is None:
        raise PermissionDenied("Sign in first.")
    return person


def _current_session_id(request: HttpRequest) -> str:
    return public_id_of(hash_of_session_key(request.session.session_key or ""))


# Its limit stands in ACCOUNT_RATE_LIMITS.
USE_OF_LINKS = "use_of_links"
THEME_AGE = 365 * 24 * 60 * 60


@sensitive_post_parameters("token", "password")
def setup(request: HttpRequest) -> HttpResponse:
    """The page of the setup link: adds the first administrator and signs them in."""
    if Person.objects.exists():
        return redirect("overview")
    if not ratelimit.consume(request, action=USE_OF_LINKS):
        return _too_many_uses(request)
    form = SetUpForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.set_up_first_administrator(
                **form.cleaned_data, request_id=request_id_of(request)
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except ConflictError as error:
            form.add_error(None, str(error))
        else:
            return _sign_in(request, person, to=reverse("credential-new"), chose_password=True)
    return _form_page(request, "connections/setup.html", form)


@sensitive_post_parameters("token", "password")
def sign_in_link(request: HttpRequest) -> HttpResponse:
    """The page of a sign-in link: sets a password if one is entered, and signs the person in."""
    if not ratelimit.consume(request, action=USE_OF_LINKS):
        return _too_many_uses(request)
    form = SignInLinkForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.use_sign_in_link(**form.cleaned_data, request_id=request_id_of(request))
        except InvalidInputError as error:
            form.add_errors(error)
        except ConflictError as error:
            form.add_error(None, str(error))
        else:
            chose = bool(form.cleaned_data["password"])
            return _sign_in(request, person, to=reverse("overview"), chose_password=chose)
    return _form_page(request, "connections/sign_in_link.html", form)


def theme_set(request: HttpRequest) -> HttpResponse:
    """Store the theme in a cookie and redirect back."""
    theme = request.POST.get("theme", "")
    back = request.POST.get("next", "")
    response = HttpResponseRedirect(back if is_local_url(request, back) else reverse("overview"))
    response.set_cookie(
        "theme",
        theme if theme in THEMES else "system",
        max_age=THEME_AGE,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
    return response


def _too_many_uses(request: HttpRequest) -> HttpResponse:
    response: HttpResponse = respond_429(request)
    return response


def _sign_in(
    request: HttpRequest, person: Person, *, to: str, chose_password: bool
) -> HttpResponse:
    # Through allauth, which still requires MFA and starts a new session.
    record_authentication(request, person, "sign_in_link", chose_password=chose_password)
    response: HttpResponse = perform_login(request, person, redirect_url=to)
    return response


def _form_page(request: HttpRequest, template: str, form: Any) -> HttpResponse:
    return render(request, template, {"form": form}, status=422 if form.is_bound else 200)
