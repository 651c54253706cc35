"""Pages about credentials: the key pair of one org on one site."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.approvers import approval_warnings
from connections.core.errors import ConflictError, InvalidInputError, UnavailableError
from connections.credentials import access_lists, lifecycle, retirement
from connections.crypto.encryption import EncryptionError
from connections.models import AccessKind, ApprovalPolicy, Credential
from connections.web.credentials import page
from connections.web.credentials.forms import (
    AccessForm,
    CredentialForm,
    PolicyForm,
    RenameForm,
    RotateForm,
)
from connections.web.rate_limits import limited
from connections.web.reauthentication import requires_reauthentication
from connections.web.support import SeeOther, actor_of
from connections.wording.connections import site_label

# Hides keys in error reports, also while DEBUG is on: see errors.py.
accepts_keys = sensitive_post_parameters("api_key", "application_key")


def _find_credential(actor: Actor, pk: UUID) -> Credential:
    """The credential. Raises Http404, also when the actor's access lists hide it."""
    return lifecycle.find_credential(actor=actor, pk=pk)


def credential_list(request: HttpRequest) -> HttpResponse:
    """Every credential, with the form to add one when there are none."""
    actor = actor_of(request)
    rows = lifecycle.list_credentials(actor=actor)
    in_use = [_credential_context(credential) for credential in rows if not credential.is_retired]
    context = {
        "in_use": in_use,
        "retired": [
            _credential_context(credential) for credential in rows if credential.is_retired
        ],
        "may_manage": permissions.can_manage_credentials(actor),
        "form": CredentialForm() if not in_use else None,
    }
    return render(request, "connections/credential_list.html", context)


def _credential_context(credential: Credential) -> dict[str, Any]:
    """Template variables of one credential."""
    return {
        "credential": credential,
        "state": page.credential_state(credential),
        "site": site_label(credential.site),
        "why": page.failure_reason(credential),
        "last_error": page.last_error_of(credential),
        "lacks_write": page.lacks_write(credential),
        "connections_url": page.connections_url(credential),
    }


def _new_page(request: HttpRequest, form: CredentialForm | None = None) -> HttpResponse:
    form = form or CredentialForm(request.POST or None)
    status = 422 if form.errors else 200
    return render(request, "connections/credential_new.html", {"form": form}, status=status)


@accepts_keys
@requires_reauthentication(on_missing=_new_page, before_page=True)
def credential_new(request: HttpRequest) -> HttpResponse:
    """The form to add one; a POST stores and verifies it."""
    actor = actor_of(request)
    form = CredentialForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            credential = lifecycle.add_credential(
                actor=actor,
                name=form.cleaned_data["name"],
                site=form.cleaned_data["site"],
                keys=form.keys,
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except EncryptionError as error:
            form.add_error(None, f"Nothing was stored: {error}")
        else:
            return _redirect_with_result(request, credential, done="is stored")
    return _new_page(request, form)


def _redirect_with_result(
    request: HttpRequest, credential: Credential, *, done: str
) -> HttpResponse:
    """303 to the credential's page, with a message about the result."""
    if credential.is_verified:
        messages.success(request, f"{credential.name} {done} and verified.")
    else:
        messages.warning(request, f"{credential.name} {done}, but not verified. See why below.")
    return _redirect_to_credential(credential)


def _redirect_to_credential(credential: Credential) -> HttpResponse:
    """303 to the credential's page."""
    return SeeOther(reverse("credential-detail", args=[credential.pk]))


def credential_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One credential: its key checks, use and settings."""
    actor = actor_of(request)
    credential = _find_credential(actor, pk)
    return _detail(request, credential=credential)


def _detail(
    request: HttpRequest,
    *,
    credential: Credential,
    rename: RenameForm | None = None,
    policy: PolicyForm | None = None,
) -> HttpResponse:
    actor = actor_of(request)
    warnings = approval_warnings(credential=credential)
    context = _credential_context(credential) | {
        "rungs": page.stored_key_checks(credential),
        "checked_at": page.checked_at(credential),
        "deletions_url": page.deletions_url(credential),
        "deletion_count": credential.deletions.count(),
        "count_connections": lifecycle.count_connections(credential),
        "newest_listing": credential.syncs.first(),
        "policy_label": ApprovalPolicy(credential.policy).label,
        "access": _access_summary(credential),
        "access_warnings": access_lists.list_access_warnings(credential),
        "other_warnings": [
            (each.label, warnings[each])
            for each in ApprovalPolicy
            if warnings[each] and each != credential.policy
        ],
        "may_manage": permissions.can_manage_credentials(actor) and not credential.is_retired,
        "may_administer": permissions.can_administer(actor),
        "may_change_policy": permissions.can_administer(actor) and not credential.is_retired,
        "rename_form": rename or RenameForm(initial={"name": credential.name}),
        "policy_form": policy or PolicyForm(initial={"policy": credential.policy}),
    }
    refused = bool((rename and rename.errors) or (policy and policy.errors))
    return render(
        request, "connections/credential_detail.html", context, status=422 if refused else 200
    )


def _page_with_input(**typed_into: type[forms.Form]) -> Callable[[HttpRequest, UUID], HttpResponse]:
    """The `on_missing` of the actions on a credential: its page, with the input in the form."""

    def on_missing(request: HttpRequest, pk: UUID) -> HttpResponse:
        credential = _find_credential(actor_of(request), pk)
        typed: dict[str, Any] = {name: form(request.POST) for name, form in typed_into.items()}
        return _detail(request, credential=credential, **typed)

    return on_missing


@limited("verify", per_minute=20)
@requires_reauthentication(on_missing=_page_with_input())
def credential_verify(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Run the key checks again and sync the credential's org."""
    actor = actor_of(request)
    credential = _find_credential(actor, pk)
    try:
        credential = lifecycle.verify_credential(actor=actor, credential=credential)
    except (ConflictError, EncryptionError, UnavailableError) as error:
        messages.error(request, str(error))
        return _redirect_to_credential(credential)
    return _redirect_with_result(request, credential, done="was tried")


@requires_reauthentication(on_missing=_page_with_input(rename=RenameForm))
def credential_rename(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Give it another name."""
    actor = actor_of(request)
    credential = _find_credential(actor, pk)
    form = RenameForm(request.POST)
    if form.is_valid():
        try:
            lifecycle.rename_credential(
                actor=actor, credential=credential, name=form.cleaned_data["name"]
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except ConflictError as error:
            messages.error(request, str(error))
            return _redirect_to_credential(credential)
        else:
            messages.success(request, f"It is called {credential.name} now.")
            return _redirect_to_credential(credential)
    return _detail(request, credential=credential, rename=form)


@requires_reauthentication(on_missing=_page_with_input(policy=PolicyForm))
def credential_policy(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Set how many other people must approve a deletion; for administrators."""
    actor = actor_of(request)
    credential = _find_credential(actor, pk)
    form = PolicyForm(request.POST)
    if not form.is_valid():
        return _detail(request, credential=credential, policy=form)
    policy: ApprovalPolicy = form.cleaned_data["policy"]
    try:
        lifecycle.change_policy(actor=actor, credential=credential, policy=policy)
    except ConflictError as error:
        messages.error(request, str(error))
        return _redirect_to_credential(credential)
    messages.success(request, f"{credential.name}: {policy.label}, for what is asked from now on.")
    return _redirect_to_credential(credential)


def _rotate_page(
    request: HttpRequest, pk: UUID, *, form: RotateForm | None = None, **more: Any
) -> HttpResponse:
    credential = _find_credential(actor_of(request), pk)
    if credential.is_retired:
        messages.error(request, f"{credential.name} is retired: its keys are wiped.")
        return _redirect_to_credential(credential)
    form = form or RotateForm(request.POST or None)
    context = _credential_context(credential) | {"form": form} | more
    status = 422 if form.errors else 200
    return render(request, "connections/credential_rotate.html", context, status=status)


@accepts_keys
@requires_reauthentication(on_missing=_rotate_page, before_page=True)
def credential_rotate(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Replace the key pair after the new one is verified."""
    credential = _find_credential(actor_of(request), pk)
    form = RotateForm(request.POST if request.method == "POST" else None)
    rungs: Any = None
    if not credential.is_retired and form.is_valid():
        try:
            credential = lifecycle.rotate_credential(
                actor=actor_of(request), credential=credential, keys=form.keys
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except lifecycle.RotationRefusedError as error:
            form.add_error(None, str(error))
            rungs = page.key_check_rows(error.report.results)
        except (ConflictError, EncryptionError, UnavailableError) as error:
            form.add_error(None, str(error))
        else:
            return _redirect_with_result(request, credential, done="was rotated to the new pair")
    return _rotate_page(request, pk, form=form, rungs=rungs)


def _retire_page(
    request: HttpRequest, pk: UUID, *, error: str = "", conflict: str = ""
) -> HttpResponse:
    credential = _find_credential(actor_of(request), pk)
    if credential.is_retired:
        messages.error(request, f"{credential.name} is retired already.")
        return _redirect_to_credential(credential)
    context = {
        "credential": credential,
        "typed": request.POST.get("confirmation", ""),
        "error": error,
        "conflict": conflict,
        "blocking": retirement.list_blocking_deletions(credential),
        "withdrawn": retirement.list_deletions_to_withdraw(credential),
    }
    status = 422 if error else 409 if conflict else 200
    return render(request, "connections/credential_retire.html", context, status=status)


@requires_reauthentication(on_missing=_retire_page, before_page=True)
def credential_retire(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What retiring means, and a confirmation; a POST wipes the keys."""
    credential = _find_credential(actor_of(request), pk)
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
    return _redirect_to_credential(credential)


@dataclass(frozen=True, kw_only=True)
class AccessRow:
    """One role or person, with a checkbox for each list."""

    value: str
    label: str
    is_role: bool
    # Whether each list holds it.
    ticks: list[tuple[AccessKind, bool]]


def _access_summary(credential: Credential) -> list[tuple[str, list[str]]]:
    """Each list with the names on it; an empty list admits everyone with the role."""
    entries = access_lists.get_access_entries(credential)
    listed = [name for names in entries.values() for name in names]
    labels = dict(access_lists.list_entry_choices(also=listed)) if listed else {}
    return [(kind.label, [labels[name] for name in names]) for kind, names in entries.items()]


def _access_page(
    request: HttpRequest, credential: Credential, *, form: AccessForm | None = None, status: int
) -> HttpResponse:
    stored = access_lists.get_access_entries(credential)
    form = form or _access_form(request, credential)
    form.is_valid()
    ticked = form.entries if form.is_bound else stored
    context = {"credential": credential, "form": form, "rows": _access_rows(form.choices, ticked)}
    return render(request, "connections/credential_access.html", context, status=status)


def _access_form(request: HttpRequest, credential: Credential) -> AccessForm:
    stored = access_lists.get_access_entries(credential)
    listed = [name for names in stored.values() for name in names]
    choices = access_lists.list_entry_choices(also=listed)
    return AccessForm(request.POST if request.method == "POST" else None, choices=choices)


def _access_page_with_input(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The table with the posted input and the reauthentication prompt."""
    return _access_page(request, _find_credential(actor_of(request), pk), status=422)


@requires_reauthentication(on_missing=_access_page_with_input, before_page=True)
def credential_access(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The access lists of one credential; a POST replaces them."""
    credential = _find_credential(actor_of(request), pk)
    form = _access_form(request, credential)
    if form.is_valid():
        try:
            access_lists.change_access(
                actor=actor_of(request), credential=credential, wanted=form.entries
            )
        except InvalidInputError as error:
            form.add_errors(error)
        else:
            messages.success(request, f"Stored who may see and use {credential.name}.")
            return SeeOther(reverse("credential-detail", args=[credential.pk]))
    status = 422 if form.is_bound else 200
    return _access_page(request, credential, form=form, status=status)


def _access_rows(
    choices: list[tuple[str, str]], ticked: access_lists.AccessEntries
) -> list[AccessRow]:
    return [
        AccessRow(
            value=value,
            label=label,
            is_role=value.startswith("role:"),
            ticks=[(kind, value in ticked.get(kind, [])) for kind in AccessKind],
        )
        for value, label in choices
    ]
