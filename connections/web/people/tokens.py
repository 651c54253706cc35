"""API tokens: each person's own, and those of everyone for administrators."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import ApiToken, Person, Scope
from connections.people import api_tokens
from connections.web.framework.forms import ServiceForm
from connections.web.framework.http import (
    SeeOther,
    actor_of,
    require_signed_in_person,
    time_of,
)
from connections.web.framework.reauthentication import requires_reauthentication


class TokenForm(ServiceForm):
    """A new token."""

    name = forms.CharField(
        label="Name",
        max_length=api_tokens.MAX_NAME_LENGTH,
        help_text="Where it is used, such as “CMDB”. The audit log names it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scope = forms.MultipleChoiceField(
        label="Scopes",
        choices=[(scope.value, f"{scope.value}: {scope.label}") for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
    )
    expires = forms.IntegerField(
        label="Expires in days",
        initial=api_tokens.DEFAULT_DAYS,
        min_value=1,
        max_value=api_tokens.MAX_DAYS,
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `make_token`, except the person."""
        cleaned = self.cleaned_data
        return {"name": cleaned["name"], "scopes": cleaned["scope"], "days": cleaned["expires"]}


class ProgramTokenForm(TokenForm):
    """A new token of an account for a program."""

    person = forms.ModelChoiceField(
        Person.objects.filter(is_program=True, is_active=True).order_by("username"),
        label="Program",
        to_field_name="username",
        empty_label="Choose a program",
    )
    field_order = ("person",)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for `make_token`."""
        return super().arguments | {"person": self.cleaned_data["person"]}


def _own_page(request: HttpRequest, **more: Any) -> HttpResponse:
    person = require_signed_in_person(request)
    return _page(request, TokenForm, person=person, **more)


def _everyones_page(request: HttpRequest, **more: Any) -> HttpResponse:
    return _page(request, ProgramTokenForm, person=None, **more)


def _page(
    request: HttpRequest,
    form_class: type[TokenForm],
    *,
    person: Person | None,
    form: TokenForm | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """The tokens, with a form that makes one and, once, the text of one that was made."""
    now = time_of(request)
    context = {
        "tokens": api_tokens.list_tokens(person=person),
        "form": form or form_class(request.POST if status == 200 and request.POST else None),
        "is_own": person is not None,
        "now": now,
    }
    return render(request, "people/token_list.html", context | more, status=status)


@requires_reauthentication(on_missing=_own_page)
def api_token_list(request: HttpRequest) -> HttpResponse:
    """The signed-in person's tokens. A POST makes one, and its response shows it once."""
    if request.method != "POST":
        return _own_page(request)
    return _make(request, TokenForm(request.POST), _own_page)


@requires_reauthentication(on_missing=_everyones_page)
def person_token_list(request: HttpRequest) -> HttpResponse:
    """Everyone's tokens. A POST makes one of a program, and its response shows it once."""
    if request.method != "POST":
        return _everyones_page(request)
    return _make(request, ProgramTokenForm(request.POST), _everyones_page)


def _make(request: HttpRequest, form: TokenForm, show: Callable[..., HttpResponse]) -> HttpResponse:
    own = {"person": require_signed_in_person(request)}
    try:
        form.require_valid()
        token, text = api_tokens.make_token(actor=actor_of(request), **own | form.arguments)
    except InvalidInputError as error:
        form.add_errors(error)
        return show(request, form=form, status=422)
    except ConflictError as error:
        form.add_error(None, str(error))
        return show(request, form=form, status=409)
    # No redirect, because that would require storing the token.
    return show(request, form=type(form)(), made=token, text=text)


def api_token_revoke(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Revoke a token: one's own or, as an administrator, anyone's."""
    actor = actor_of(request)
    token = _find(actor, pk)
    api_tokens.revoke_token(actor=actor, token=token)
    messages.success(request, f"Token “{token.name}” revoked.")
    is_own = token.person_id == require_signed_in_person(request).pk
    return SeeOther(reverse("api-token-list" if is_own else "person-token-list"))


def _find(actor: Actor, pk: UUID) -> ApiToken:
    tokens = ApiToken.objects.select_related("person")
    if not permissions.can_administer(actor):
        tokens = tokens.filter(person=actor.person)
    token = tokens.filter(pk=pk).first()
    if token is None:
        raise Http404("No token has this ID.")
    return token
