"""Who may see a credential, use it and approve with it: one table of ticks."""

from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.core.errors import InvalidInputError
from connections.credentials import access_lists, reading
from connections.models import AccessKind, Credential
from connections.web.credentials.access_forms import AccessForm
from connections.web.reauthentication_views import requires_reauthentication
from connections.web.support import SeeOther, actor_of


@dataclass(frozen=True, kw_only=True)
class AccessRow:
    """One role or person: a tick for each list."""

    value: str
    label: str
    is_role: bool
    # Pairs of a list's name and whether it is ticked there.
    ticks: list[tuple[AccessKind, bool]]


def access_shown(credential: Credential) -> list[tuple[str, list[str]]]:
    """Each list with the names on it, none when everybody with the role is admitted."""
    entries = access_lists.access_of(credential)
    listed = [name for names in entries.values() for name in names]
    labels = dict(access_lists.possible_entries(also=listed)) if listed else {}
    return [(kind.label, [labels[name] for name in names]) for kind, names in entries.items()]


def _access_page(
    request: HttpRequest, credential: Credential, *, form: AccessForm | None = None, status: int
) -> HttpResponse:
    stored = access_lists.access_of(credential)
    form = form or _access_form(request, credential)
    form.is_valid()
    ticked = form.entries if form.is_bound else stored
    context = {"credential": credential, "form": form, "rows": _rows(form.choices, ticked)}
    return render(request, "connections/credential_access.html", context, status=status)


def _access_form(request: HttpRequest, credential: Credential) -> AccessForm:
    stored = access_lists.access_of(credential)
    listed = [name for names in stored.values() for name in names]
    choices = access_lists.possible_entries(also=listed)
    return AccessForm(request.POST if request.method == "POST" else None, choices=choices)


def _find(request: HttpRequest, pk: UUID) -> Credential:
    actor = actor_of(request)
    credential = reading.find_credential(actor=actor, pk=pk)
    permissions.require(permissions.can_administer(actor), "change who may use a credential")
    return credential


def _access_asked_again(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The table as it was sent, with the question who it is."""
    return _access_page(request, _find(request, pk), status=422)


@requires_reauthentication(comes_back=_access_asked_again, asks_first=True)
def access_set(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The lists of one credential; a POST puts what is ticked in their place."""
    credential = _find(request, pk)
    form = _access_form(request, credential)
    if form.is_valid():
        try:
            access_lists.change_access(
                actor=actor_of(request), credential=credential, wanted=form.entries
            )
        except InvalidInputError as error:
            form.add_service_errors(error)
        else:
            messages.success(request, f"Stored who may see and use {credential.name}.")
            return SeeOther(reverse("credential-detail", args=[credential.pk]))
    status = 422 if form.is_bound else 200
    return _access_page(request, credential, form=form, status=status)


def _rows(choices: list[tuple[str, str]], ticked: access_lists.Entries) -> list[AccessRow]:
    return [
        AccessRow(
            value=value,
            label=label,
            is_role=value.startswith("role:"),
            ticks=[(kind, value in ticked.get(kind, [])) for kind in AccessKind],
        )
        for value, label in choices
    ]
