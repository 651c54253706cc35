"""Adding a credential, and the actions on a credential."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections.access.actor import Actor
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.text import pluralize
from connections.credentials import access_lists, lifecycle, retirement
from connections.crypto.encryption import EncryptionError
from connections.lookups.objects import find_credential
from connections.models import ApprovalPolicy, ChangeRequest, Credential
from connections.web.credentials import detail, forms
from connections.web.framework.actions import NOT_REFUSED, Refusal, Subject, service_action
from connections.web.framework.addresses import subject_url
from connections.web.framework.forms import ConfirmationForm
from connections.web.framework.http import SeeOther, actor_of, redirect_to
from connections.web.framework.person_limits import limited
from connections.web.framework.reauthentication import requires_reauthentication

# Hides keys in error reports, even while DEBUG is on: see errors.py.
accepts_keys = sensitive_post_parameters("api_key", "application_key", "access_token")
_action = partial(
    service_action,
    Subject(
        name="credential",
        find=lambda actor, pk: find_credential(actor=actor, pk=pk),
        page=detail.credential_detail,
    ),
    reauthenticate=True,
)


def _new_page(request: HttpRequest, form: forms.CredentialForm | None = None) -> HttpResponse:
    form = form or forms.CredentialForm(request.POST or None)
    status = 422 if form.errors else 200
    return render(request, "credentials/new.html", {"form": form}, status=status)


@accepts_keys
@requires_reauthentication(on_missing=_new_page, before_page=True)
def credential_new(request: HttpRequest) -> HttpResponse:
    """The form to add one. A POST verifies, stores and syncs it."""
    actor = actor_of(request)
    form = forms.CredentialForm(
        request.POST if request.method == "POST" else None,
        initial={"site": request.GET.get("site", "")},
    )
    if form.is_valid():
        try:
            credential = lifecycle.add_credential(actor=actor, **form.arguments)
        except InvalidInputError as error:
            form.add_errors(error)
        except ConflictError as error:
            form.add_error(getattr(error, "field", None), str(error))
        except EncryptionError as error:
            form.add_error(None, f"Nothing was saved: {error}")
        else:
            return _redirect_with_result(request, actor, credential, done="added")
    return _new_page(request, form)


def _redirect_with_result(
    request: HttpRequest, actor: Actor, credential: Credential, *, done: str
) -> HttpResponse:
    """A 303 to the credential's page, with a message if the keys were checked and synced again."""
    if access_lists.is_excluded(actor=actor, credential=credential):
        messages.warning(
            request,
            f"{credential.name} {done}. Its org's access lists don't include you.",
        )
        return SeeOther(reverse("org-list"))
    # The page says what was synced with new keys, and what is wrong with keys that failed.
    if credential.is_verified and done != "added":
        synced = pluralize(lifecycle.count_connections(credential), "connection")
        messages.success(request, f"{credential.name} {done}. Synced {synced}.")
    return redirect_to(credential)


def _requiring_key_ring(service: Callable[..., Credential]) -> Callable[..., Credential]:
    """The service. If the key ring can't be used, it raises ConflictError."""

    def call(**arguments: Any) -> Credential:
        try:
            return service(**arguments)
        except EncryptionError as error:
            raise ConflictError(str(error)) from error

    return call


# Runs the key checks again and syncs the credential's org.
credential_verify = limited("verify", per_minute=20)(
    _action(
        "credential-verify",
        _requiring_key_ring(lifecycle.verify_credential),
        respond=lambda request, actor, credential, result: _redirect_with_result(
            request, actor, credential, done="checked"
        ),
    )
)
credential_rename = _action(
    "credential-rename",
    lifecycle.rename_credential,
    form=forms.RenameForm,
    done=lambda credential, renamed: f"Renamed to {renamed.name}.",
)
# How many other people must approve a deletion.
credential_policy = _action(
    "credential-policy",
    lifecycle.change_policy,
    form=forms.PolicyForm,
    done=lambda credential, changed: (
        "Approval policy saved for new deletions and access requests; open ones keep theirs: "
        f"{changed.get_policy_display()}."
    ),
)


# Whether the keys of a person can create connections.
credential_creator = _action(
    "credential-creator",
    lifecycle.allow_person_to_create,
    form=forms.CreatorForm,
    done=lambda credential, changed: (
        "These keys can create connections."
        if changed.person_can_create
        else "These keys can't create connections while they belong to a person."
    ),
)


def _rotate_page(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    credential = find_credential(actor=actor_of(request), pk=pk)
    if credential.is_retired:
        return detail.redirect_with_error(
            request, credential, f"{credential.name} is retired. Its keys are erased."
        )
    form, error = refusal.form or forms.RotateForm(), refusal.error
    if error and not isinstance(error, InvalidInputError):
        form.add_error(getattr(error, "field", None), str(error))
    context = {"credential": credential, "form": form}
    status = 422 if form.errors else 200
    return render(request, "credentials/rotate.html", context, status=status)


# Replaces the keys once the new ones are verified.
credential_rotate = accepts_keys(
    _action(
        "credential-rotate",
        _requiring_key_ring(lifecycle.rotate_credential),
        form=forms.RotateForm,
        page=_rotate_page,
        respond=lambda request, actor, credential, rotated: _redirect_with_result(
            request, actor, rotated, done="rotated"
        ),
    )
)


def _linked(change_requests: list[ChangeRequest]) -> list[tuple[str, ChangeRequest]]:
    """Each with the URL of its page."""
    return [(subject_url(each.noun, str(each.pk)), each) for each in change_requests]


def _retire_page(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """What retiring means, and the form that confirms it."""
    credential = find_credential(actor=actor_of(request), pk=pk)
    if credential.is_retired:
        return detail.redirect_with_error(
            request, credential, f"{credential.name} is already retired."
        )
    context = {
        "credential": credential,
        "form": refusal.form or ConfirmationForm(),
        "conflict": str(refusal.error) if isinstance(refusal.error, ConflictError) else "",
        "blocking": _linked(retirement.list_blocking_requests(credential)),
        "withdrawn": _linked(retirement.list_requests_to_withdraw(credential)),
        "policy_stays": credential.org_id and credential.policy != ApprovalPolicy.NONE,
    }
    return render(request, "credentials/retire.html", context, status=refusal.status)


# Erases the keys.
credential_retire = _action(
    "credential-retire",
    retirement.retire_credential,
    form=ConfirmationForm,
    page=_retire_page,
    done=lambda credential, retired: f"{credential.name} retired. Its keys are erased.",
)


def _access_page(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    credential = find_credential(actor=actor_of(request), pk=pk)
    context = {
        "credential": credential,
        "form": refusal.form or forms.AccessListForm.about(credential),
    }
    return render(request, "credentials/access.html", context, status=refusal.status)


# Replaces the access lists.
credential_access = _action(
    "credential-access",
    access_lists.change_access,
    form=forms.AccessListForm,
    page=_access_page,
    done=lambda credential, result: f"Access to {credential.name} saved.",
)
