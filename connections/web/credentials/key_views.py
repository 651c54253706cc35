"""The keys of a credential: another pair in their place, or none any more."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.access import permissions
from connections.core.errors import ConflictError, InvalidInputError, UnavailableError
from connections.credentials import lifecycle as acts
from connections.credentials import retirement
from connections.crypto.encryption import EncryptionError
from connections.models import Credential
from connections.web.credentials import page as facts
from connections.web.credentials.forms import RotateForm
from connections.web.credentials.views import accepts_keys, find, row, see_other, to_page
from connections.web.reauthentication_views import requires_reauthentication
from connections.web.support import actor_of
from connections.wording import badge


def _managed(request: HttpRequest, pk: UUID, *, act: str) -> Credential:
    actor = actor_of(request)
    credential = find(actor, pk)
    permissions.require(permissions.can_manage_credentials(actor), act)
    return credential


def _rotate_page(
    request: HttpRequest, pk: UUID, *, form: RotateForm | None = None, **more: Any
) -> HttpResponse:
    credential = _managed(request, pk, act="rotate credentials")
    if credential.is_retired:
        messages.error(request, f"{credential.name} is retired: its keys are wiped.")
        return see_other(credential)
    form = form or RotateForm(request.POST or None)
    context = row(credential) | {"form": form} | more
    status = 422 if form.errors else 200
    return render(request, "connections/credential_rotate.html", context, status=status)


@accepts_keys
@requires_reauthentication(comes_back=_rotate_page, asks_first=True)
def credential_rotate(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Paste a new pair, which is verified beside the old one before it takes its place."""
    credential = _managed(request, pk, act="rotate credentials")
    form = RotateForm(request.POST if request.method == "POST" else None)
    rungs: Any = None
    if not credential.is_retired and form.is_valid():
        try:
            credential = acts.rotate_credential(
                actor=actor_of(request), credential=credential, keys=form.keys
            )
        except InvalidInputError as error:
            form.add_errors(error.fields)
        except acts.RotationRefusedError as error:
            form.add_error(None, str(error))
            rungs = facts.key_check_rows(error.ladder.rungs)
        except (ConflictError, EncryptionError, UnavailableError) as error:
            form.add_error(None, str(error))
        else:
            return to_page(request, credential, done="was rotated to the new pair")
    return _rotate_page(request, pk, form=form, rungs=rungs)


def _retire_page(
    request: HttpRequest, pk: UUID, *, error: str = "", conflict: str = ""
) -> HttpResponse:
    credential = _managed(request, pk, act="retire credentials")
    if credential.is_retired:
        messages.error(request, f"{credential.name} is retired already.")
        return see_other(credential)
    context = {
        "credential": credential,
        "typed": request.POST.get("confirmation", ""),
        "error": error,
        "conflict": conflict,
        "blocking": [
            {"deletion": deletion, "badge": badge(deletion)}
            for deletion in retirement.blocking_deletions(credential)
        ],
        "withdrawn": retirement.deletions_to_withdraw(credential),
    }
    status = 422 if error else 409 if conflict else 200
    return render(request, "connections/credential_retire.html", context, status=status)


@requires_reauthentication(comes_back=_retire_page, asks_first=True)
def credential_retire(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What retiring it means, and the name to type; a POST wipes the keys."""
    credential = _managed(request, pk, act="retire credentials")
    if request.method != "POST" or credential.is_retired:
        return _retire_page(request, pk)
    typed = request.POST.get("confirmation", "")
    try:
        retirement.retire_credential(
            actor=actor_of(request), credential=credential, confirmation=typed
        )
    except InvalidInputError as invalid:
        return _retire_page(request, pk, error=invalid.fields["confirmation"])
    except ConflictError as refused:
        return _retire_page(request, pk, conflict=str(refused))
    messages.success(request, f"{credential.name} is retired. Its keys are wiped.")
    return see_other(credential)
