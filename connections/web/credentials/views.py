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
from connections.credentials import access_lists, retirement
from connections.credentials import lifecycle as acts
from connections.credentials import lifecycle as credential_lifecycle
from connections.crypto.encryption import EncryptionError
from connections.models import AccessKind, ApprovalPolicy, Credential
from connections.web.credentials import page as facts
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
from connections.wording import badge
from connections.wording.connections import site_label

# Pasted keys stay out of error pages and mails, also with DEBUG on: see error_reports.py.
accepts_keys = sensitive_post_parameters("api_key", "application_key")


def find(actor: Actor, pk: UUID) -> Credential:
    """The credential, for whoever may see it. Raises PermissionDenied and Http404."""
    return credential_lifecycle.find_credential(actor=actor, pk=pk)


def credential_list(request: HttpRequest) -> HttpResponse:
    """Every credential, and the form itself when there is none yet."""
    actor = actor_of(request)
    rows = credential_lifecycle.list_credentials(actor=actor)
    in_use = [row(credential) for credential in rows if not credential.is_retired]
    context = {
        "in_use": in_use,
        "retired": [row(credential) for credential in rows if credential.is_retired],
        "may_manage": permissions.can_manage_credentials(actor),
        "form": CredentialForm() if not in_use else None,
    }
    return render(request, "connections/credential_list.html", context)


def row(credential: Credential) -> dict[str, Any]:
    """What every page about one credential shows of it."""
    return {
        "credential": credential,
        "state": facts.state_of(credential),
        "site": site_label(credential.site),
        "why": facts.failure_words(credential),
        "last_error": facts.last_error_of(credential),
        "lacks_write": facts.lacks_write(credential),
        "connections_url": facts.connections_url(credential),
    }


def _new_page(request: HttpRequest, form: CredentialForm | None = None) -> HttpResponse:
    permissions.require(permissions.can_manage_credentials(actor_of(request)), "add credentials")
    form = form or CredentialForm(request.POST or None)
    status = 422 if form.errors else 200
    return render(request, "connections/credential_new.html", {"form": form}, status=status)


@accepts_keys
@requires_reauthentication(comes_back=_new_page, asks_first=True)
def credential_new(request: HttpRequest) -> HttpResponse:
    """The form to add one; a POST stores it, verifies it and leads to its page."""
    actor = actor_of(request)
    permissions.require(permissions.can_manage_credentials(actor), "add credentials")
    form = CredentialForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            credential = acts.add_credential(
                actor=actor,
                name=form.cleaned_data["name"],
                site=form.cleaned_data["site"],
                keys=form.keys,
            )
        except InvalidInputError as error:
            form.add_errors(error.fields)
        except EncryptionError as error:
            form.add_error(None, f"Nothing was stored: {error}")
        else:
            return to_page(request, credential, done="is stored")
    return _new_page(request, form)


def to_page(request: HttpRequest, credential: Credential, *, done: str) -> HttpResponse:
    """303 to the credential's page, which shows the ladder; a line on top says what was done."""
    if credential.is_verified:
        messages.success(request, f"{credential.name} {done} and verified.")
    else:
        messages.warning(request, f"{credential.name} {done}, but not verified. See why below.")
    return see_other(credential)


def see_other(credential: Credential) -> HttpResponse:
    """303 to the credential's page."""
    return SeeOther(reverse("credential-detail", args=[credential.pk]))


def credential_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One credential: the ladder, what it was used for, and the acts on it."""
    actor = actor_of(request)
    credential = find(actor, pk)
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
    context = row(credential) | {
        "rungs": facts.key_checks_of(credential),
        "checked_at": facts.checked_at(credential),
        "deletions_url": facts.deletions_url(credential),
        "deletion_count": credential.deletions.count(),
        "connection_count": credential_lifecycle.count_connections(credential),
        "newest_listing": credential.listings.first(),
        "policy_label": ApprovalPolicy(credential.policy).label,
        "access": access_shown(credential),
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


def _again(
    may: Callable[[Actor], bool], act: str, **typed_into: type[forms.Form]
) -> Callable[[HttpRequest, UUID], HttpResponse]:
    """Answer an act without a proof of who it is: the page, with what was typed into the form."""

    def comes_back(request: HttpRequest, pk: UUID) -> HttpResponse:
        actor = actor_of(request)
        credential = find(actor, pk)
        permissions.require(may(actor), act)
        typed: dict[str, Any] = {name: form(request.POST) for name, form in typed_into.items()}
        return _detail(request, credential=credential, **typed)

    return comes_back


@limited("verify", per_minute=20)
@requires_reauthentication(
    comes_back=_again(permissions.can_manage_credentials, "verify credentials")
)
def credential_verify(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Climb the ladder again and read the org connections of this credential."""
    actor = actor_of(request)
    credential = find(actor, pk)
    try:
        credential = acts.verify_credential(actor=actor, credential=credential)
    except (ConflictError, EncryptionError, UnavailableError) as error:
        messages.error(request, str(error))
        return see_other(credential)
    return to_page(request, credential, done="was tried")


@requires_reauthentication(
    comes_back=_again(permissions.can_manage_credentials, "rename credentials", rename=RenameForm)
)
def credential_rename(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Give it another name."""
    actor = actor_of(request)
    credential = find(actor, pk)
    permissions.require(permissions.can_manage_credentials(actor), "rename credentials")
    form = RenameForm(request.POST)
    if form.is_valid():
        try:
            acts.rename_credential(
                actor=actor, credential=credential, name=form.cleaned_data["name"]
            )
        except InvalidInputError as error:
            form.add_error("name", error.fields["name"])
        except ConflictError as error:
            messages.error(request, str(error))
            return see_other(credential)
        else:
            messages.success(request, f"It is called {credential.name} now.")
            return see_other(credential)
    return _detail(request, credential=credential, rename=form)


@requires_reauthentication(
    comes_back=_again(
        permissions.can_administer, "change the policy of a credential", policy=PolicyForm
    )
)
def credential_policy(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Say how many other people must approve; an administrator's act."""
    actor = actor_of(request)
    credential = find(actor, pk)
    permissions.require(permissions.can_administer(actor), "change the policy of a credential")
    form = PolicyForm(request.POST)
    if not form.is_valid():
        return _detail(request, credential=credential, policy=form)
    policy: ApprovalPolicy = form.cleaned_data["policy"]
    try:
        acts.change_policy(actor=actor, credential=credential, policy=policy)
    except ConflictError as error:
        messages.error(request, str(error))
        return see_other(credential)
    messages.success(request, f"{credential.name}: {policy.label}, for what is asked from now on.")
    return see_other(credential)


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
            rungs = facts.key_check_rows(error.report.results)
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
            for deletion in retirement.list_blocking_deletions(credential)
        ],
        "withdrawn": retirement.list_deletions_to_withdraw(credential),
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
    context = {"credential": credential, "form": form, "rows": _rows(form.choices, ticked)}
    return render(request, "connections/credential_access.html", context, status=status)


def _access_form(request: HttpRequest, credential: Credential) -> AccessForm:
    stored = access_lists.get_access_entries(credential)
    listed = [name for names in stored.values() for name in names]
    choices = access_lists.list_entry_choices(also=listed)
    return AccessForm(request.POST if request.method == "POST" else None, choices=choices)


def _find(request: HttpRequest, pk: UUID) -> Credential:
    actor = actor_of(request)
    credential = credential_lifecycle.find_credential(actor=actor, pk=pk)
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


def _rows(choices: list[tuple[str, str]], ticked: access_lists.AccessEntries) -> list[AccessRow]:
    return [
        AccessRow(
            value=value,
            label=label,
            is_role=value.startswith("role:"),
            ticks=[(kind, value in ticked.get(kind, [])) for kind in AccessKind],
        )
        for value, label in choices
    ]
