"""Choosing the connection to delete, by its ID, and the credential that sends the DELETE."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core.errors import InvalidInputError
from connections.core.sites import site_label
from connections.core.text import uuid_or_none
from connections.deletions import confirmations
from connections.lookups.objects import find_credential
from connections.models import Credential
from connections.people import people
from connections.web.deletions.detail import back_url
from connections.web.deletions.forms import ConnectionChoiceForm
from connections.web.framework.http import actor_of, wants_fragment


def parse_choice(data: Mapping[str, str], *, actor: Actor) -> tuple[Credential, UUID]:
    """The chosen credential and connection.

    Raises InvalidInputError, and Http404 for a credential that doesn't exist or is hidden.
    """
    problems: dict[str, str] = {}
    credential = None
    pk = uuid_or_none(data.get("credential", ""))
    if pk:
        credential = find_credential(actor=actor, pk=pk)
    if credential is None:
        problems["credential"] = "Choose a credential."
    try:
        connection_id = confirmations.parse_connection_id(data.get("connection_id", ""))
    except InvalidInputError as error:
        problems |= error.fields
    if problems or credential is None:
        raise InvalidInputError(problems)
    return credential, connection_id


def choice_page(
    request: HttpRequest, *, data: QueryDict, error: InvalidInputError | None = None
) -> HttpResponse:
    """The form to choose a connection, with its errors."""
    actor = actor_of(request)
    if error:
        form = _choice_form(data, actor=actor)
        form.add_errors(error)
    else:
        # Half of the query string is not an error, so fill in what is there.
        form = _choice_form(actor=actor)
        form.initial = data.dict()
    context = {
        "form": form,
        "no_sender": _no_sender_context(actor=actor),
        "back_url": back_url(request) or reverse("org-connection-list"),
    }
    status = 422 if error else 200
    response = render(request, "deletions/choose.html", context, status=status)
    if wants_fragment(request):
        # This replaces the whole confirmation page.
        response["HX-Retarget"] = response["HX-Reselect"] = "#content"
        response["HX-Reswap"] = "outerHTML"
    return response


def _no_sender_context(*, actor: Actor) -> dict[str, Any] | None:
    """Who can add a credential. Set if the actor can use no verified credential."""
    if any(credential.org_id for credential in visibility.usable_credentials(actor=actor)):
        return None
    return {
        "can_manage_credentials": permissions.can_manage_credentials(actor),
        "administrators": people.list_administrator_names(),
    }


def _choice_form(data: Mapping[str, Any] | None = None, *, actor: Actor) -> ConnectionChoiceForm:
    """The form for the connection and the credential."""
    credentials = [
        (str(credential.pk), f"{credential.name} — {site_label(credential.site)}")
        for credential in visibility.usable_credentials(actor=actor)
    ]
    return ConnectionChoiceForm(data, credentials=credentials)
