"""Coming in without a password: the first administrator, sign-in links. And the theme."""

from typing import Any

from allauth.account.utils import perform_login
from allauth.core import ratelimit
from allauth.core.ratelimit import respond_429
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections.core.errors import ConflictError, InvalidInputError
from connections.models import Person
from connections.people import people
from connections.web.context import THEMES
from connections.web.people.allauth_internals import record_authentication
from connections.web.people.forms import SetUpForm, SignInLinkForm
from connections.web.support import is_local_url, request_id_of

# Its limit stands in ACCOUNT_RATE_LIMITS.
USE_OF_LINKS = "use_of_links"
THEME_AGE = 365 * 24 * 60 * 60


@sensitive_post_parameters("token", "password")
def setup(request: HttpRequest) -> HttpResponse:
    """The page of the set-up link: makes the first administrator and signs them in."""
    if Person.objects.exists():
        return redirect("overview")
    if not ratelimit.consume(request, action=USE_OF_LINKS):
        return _too_many(request)
    form = SetUpForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.set_up_first_administrator(
                **form.cleaned_data, request_id=request_id_of(request)
            )
        except InvalidInputError as error:
            form.add_service_errors(error)
        except ConflictError as error:
            form.add_error(None, str(error))
        else:
            return _signed_in(request, person, to=reverse("credential-new"), chose_password=True)
    return _form_page(request, "connections/setup.html", form)


@sensitive_post_parameters("token", "password")
def sign_in_link(request: HttpRequest) -> HttpResponse:
    """The page of a sign-in link: sets a password when one is typed, and signs the person in."""
    if not ratelimit.consume(request, action=USE_OF_LINKS):
        return _too_many(request)
    form = SignInLinkForm(request.POST or None)
    if form.is_valid():
        try:
            person = people.use_sign_in_link(**form.cleaned_data, request_id=request_id_of(request))
        except InvalidInputError as error:
            form.add_service_errors(error)
        except ConflictError as error:
            form.add_error(None, str(error))
        else:
            chose = bool(form.cleaned_data["password"])
            return _signed_in(request, person, to=reverse("overview"), chose_password=chose)
    return _form_page(request, "connections/sign_in_link.html", form)


def theme_set(request: HttpRequest) -> HttpResponse:
    """Keep the theme in a cookie and go back to where the switch was."""
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


def _too_many(request: HttpRequest) -> HttpResponse:
    response: HttpResponse = respond_429(request)
    return response


def _signed_in(
    request: HttpRequest, person: Person, *, to: str, chose_password: bool
) -> HttpResponse:
    # Through allauth, so that a second factor is still asked for and the session is a new one.
    record_authentication(request, person, "sign_in_link", chose_password=chose_password)
    response: HttpResponse = perform_login(request, person, redirect_url=to)
    return response


def _form_page(request: HttpRequest, template: str, form: Any) -> HttpResponse:
    return render(request, template, {"form": form}, status=422 if form.is_bound else 200)
