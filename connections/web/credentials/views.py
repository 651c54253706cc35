"""Pages about credentials: the keys of one org on one site."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from connections.access import permissions
from connections.access.approvers import approval_warnings
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError, UnavailableError
from connections.core.text import pluralize
from connections.credentials import access_lists, lifecycle, retirement
from connections.credentials.import_file import COLUMNS, parse_file
from connections.credentials.imports import LineOutcome, LineResult, import_credentials
from connections.crypto.encryption import EncryptionError
from connections.inventory import rate_limits
from connections.lookups.objects import find_credential
from connections.models import ApprovalPolicy, Credential
from connections.web.badges import Badge, credential_badge
from connections.web.credentials import page
from connections.web.credentials.forms import (
    AccessForm,
    CredentialForm,
    ImportForm,
    PolicyForm,
    RenameForm,
    RotateForm,
)
from connections.web.framework.rate_limits import limited
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.framework.support import SeeOther, actor_of

# Hides keys in error reports, even while DEBUG is on: see errors.py.
accepts_keys = sensitive_post_parameters("api_key", "application_key", "access_token")


def _find(request: HttpRequest, pk: UUID) -> Credential:
    """The credential. Raises Http404, also if the person's access lists hide it."""
    return find_credential(actor=actor_of(request), pk=pk)


def credential_list(request: HttpRequest) -> HttpResponse:
    """Every credential, with the form to add one if there are none."""
    actor = actor_of(request)
    rows = [_context_of(credential) for credential in lifecycle.list_credentials(actor=actor)]
    in_use = [row for row in rows if not row["credential"].is_retired]
    context = {
        "in_use": in_use,
        "retired": [row for row in rows if row["credential"].is_retired],
        "can_manage": permissions.can_manage_credentials(actor),
        "form": CredentialForm() if not in_use else None,
    }
    return render(request, "credentials/list.html", context)


def _context_of(credential: Credential) -> dict[str, Any]:
    """Template variables of one credential."""
    org = f"{credential.site}/{credential.org_id}"
    return {
        "credential": credential,
        "problem": page.problem_of(credential),
        "flags": page.flags_of(credential),
        "connections_url": reverse("org-connection-list", query={"org": org}),
    }


def _new_page(request: HttpRequest, form: CredentialForm | None = None) -> HttpResponse:
    form = form or CredentialForm(request.POST or None)
    status = 422 if form.errors else 200
    return render(request, "credentials/new.html", {"form": form}, status=status)


@accepts_keys
@requires_reauthentication(on_missing=_new_page, before_page=True)
def credential_new(request: HttpRequest) -> HttpResponse:
    """The form to add one. A POST stores, verifies and syncs it."""
    form = CredentialForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            credential = lifecycle.add_credential(
                actor=actor_of(request),
                name=form.cleaned_data["name"],
                site=form.cleaned_data["site"],
                keys=form.keys,
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except EncryptionError as error:
            form.add_error(None, f"Nothing was saved: {error}")
        else:
            return _redirect_with_result(request, credential, done="added")
    return _new_page(request, form)


def _redirect_with_result(
    request: HttpRequest, credential: Credential, *, done: str
) -> HttpResponse:
    """A 303 to the credential's page, with a message about the verification and its sync."""
    if access_lists.is_excluded(actor=actor_of(request), credential=credential):
        messages.warning(
            request,
            f"{credential.name} {done} with the access lists of its org, which don't include you.",
        )
        return SeeOther(reverse("credential-list"))
    if credential.is_verified:
        synced = pluralize(lifecycle.count_connections(credential), "connection")
        messages.success(request, f"{credential.name} {done} and verified. Synced {synced}.")
    else:
        messages.warning(request, f"{credential.name} {done}, but its keys couldn't be verified.")
    return _redirect(credential)


def _redirect(credential: Credential) -> HttpResponse:
    """A 303 to the credential's page."""
    return SeeOther(reverse("credential-detail", args=[credential.pk]))


def _redirect_with_error(
    request: HttpRequest, credential: Credential, error: object
) -> HttpResponse:
    messages.error(request, str(error))
    return _redirect(credential)


def credential_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One credential: its key checks, use and settings."""
    return _detail(request, credential=_find(request, pk))


def _detail(
    request: HttpRequest,
    *,
    credential: Credential,
    rename: RenameForm | None = None,
    policy: PolicyForm | None = None,
) -> HttpResponse:
    actor = actor_of(request)
    warnings = approval_warnings(credential=credential)
    context = _context_of(credential) | {
        "status": credential_badge(credential),
        "checks": page.key_check_rows(credential.verification),
        "checked_at": page.checked_at(credential),
        "last_error": page.last_error_of(credential),
        "managed_org_count": credential.managed_orgs.count(),
        "managed_orgs_problem": page.failure_text_of(credential.managed_orgs_error),
        "deletion_count": credential.deletions.count(),
        "connection_count": lifecycle.count_connections(credential),
        "newest_sync": credential.syncs.first(),
        "last_complete_sync": credential.syncs.filter(is_complete=True).first(),
        "held_back_until": _held_back_until(credential),
        "policy_label": ApprovalPolicy(credential.policy).label,
        "access": _access_summary(credential),
        "access_warnings": access_lists.list_access_warnings(credential),
        "other_warnings": [
            (each.label, warnings[each])
            for each in ApprovalPolicy
            if warnings[each] and each != credential.policy
        ],
        "can_manage": permissions.can_manage_credentials(actor) and not credential.is_retired,
        "can_administer": permissions.can_administer(actor),
        "can_change_policy": permissions.can_administer(actor) and not credential.is_retired,
        "rename_form": rename or RenameForm(initial={"name": credential.name}),
        "policy_form": policy or PolicyForm(initial={"policy": credential.policy}),
    }
    is_refused = any(form and form.errors for form in (rename, policy))
    return render(request, "credentials/detail.html", context, status=422 if is_refused else 200)


def _held_back_until(credential: Credential) -> datetime | None:
    if credential.is_retired or not credential.org_id:
        return None
    return rate_limits.wait_until(site=credential.site, org_id=credential.org_id, now=clock.now())


def _page_with_input(**typed_into: type[forms.Form]) -> Callable[[HttpRequest, UUID], HttpResponse]:
    """The `on_missing` of a credential's actions: its page, with the input in the form."""

    def on_missing(request: HttpRequest, pk: UUID) -> HttpResponse:
        typed: dict[str, Any] = {name: form(request.POST) for name, form in typed_into.items()}
        return _detail(request, credential=_find(request, pk), **typed)

    return on_missing


@limited("verify", per_minute=20)
@requires_reauthentication(on_missing=_page_with_input())
def credential_verify(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Run the key checks again and sync the credential's org."""
    credential = _find(request, pk)
    try:
        lifecycle.verify_credential(actor=actor_of(request), credential=credential)
    except (ConflictError, EncryptionError, UnavailableError) as error:
        return _redirect_with_error(request, credential, error)
    return _redirect_with_result(request, credential, done="checked")


@requires_reauthentication(on_missing=_page_with_input(rename=RenameForm))
def credential_rename(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Give the credential another name."""
    credential = _find(request, pk)
    form = RenameForm(request.POST)
    try:
        form.require_valid()
        lifecycle.rename_credential(
            actor=actor_of(request), credential=credential, name=form.cleaned_data["name"]
        )
    except InvalidInputError as error:
        form.add_errors(error)
        return _detail(request, credential=credential, rename=form)
    except ConflictError as error:
        return _redirect_with_error(request, credential, error)
    messages.success(request, f"Renamed to {credential.name}.")
    return _redirect(credential)


@requires_reauthentication(on_missing=_page_with_input(policy=PolicyForm))
def credential_policy(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Set how many other people must approve a deletion. Only for administrators."""
    credential = _find(request, pk)
    form = PolicyForm(request.POST)
    if not form.is_valid():
        return _detail(request, credential=credential, policy=form)
    policy: ApprovalPolicy = form.cleaned_data["policy"]
    try:
        lifecycle.change_policy(actor=actor_of(request), credential=credential, policy=policy)
    except ConflictError as error:
        return _redirect_with_error(request, credential, error)
    messages.success(request, f"Approval policy saved for new deletions: {policy.label}.")
    return _redirect(credential)


def _rotate_page(
    request: HttpRequest, pk: UUID, *, form: RotateForm | None = None, **more: Any
) -> HttpResponse:
    credential = _find(request, pk)
    if credential.is_retired:
        return _redirect_with_error(
            request, credential, f"{credential.name} is retired. Its keys are erased."
        )
    form = form or RotateForm(request.POST or None)
    context = {"credential": credential, "form": form} | more
    status = 422 if form.errors else 200
    return render(request, "credentials/rotate.html", context, status=status)


@accepts_keys
@requires_reauthentication(on_missing=_rotate_page, before_page=True)
def credential_rotate(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Replace the keys once the new ones are verified."""
    credential = _find(request, pk)
    form = RotateForm(request.POST if request.method == "POST" else None)
    checks: Any = None
    if not credential.is_retired and form.is_valid():
        try:
            credential = lifecycle.rotate_credential(
                actor=actor_of(request), credential=credential, keys=form.keys
            )
        except InvalidInputError as error:
            form.add_errors(error)
        except lifecycle.RotationRefusedError as error:
            form.add_error(None, str(error))
            checks = page.key_check_rows(asdict(result) for result in error.report.results)
        except (ConflictError, EncryptionError, UnavailableError) as error:
            form.add_error(None, str(error))
        else:
            return _redirect_with_result(request, credential, done="rotated")
    return _rotate_page(request, pk, form=form, checks=checks)


def _retire_page(
    request: HttpRequest, pk: UUID, *, error: str = "", conflict: str = ""
) -> HttpResponse:
    credential = _find(request, pk)
    if credential.is_retired:
        return _redirect_with_error(request, credential, f"{credential.name} is already retired.")
    context = {
        "credential": credential,
        "typed": request.POST.get("confirmation", ""),
        "error": error,
        "conflict": conflict,
        "blocking": retirement.list_blocking_deletions(credential),
        "withdrawn": retirement.list_deletions_to_withdraw(credential),
    }
    status = 422 if error else 409 if conflict else 200
    return render(request, "credentials/retire.html", context, status=status)


@requires_reauthentication(on_missing=_retire_page, before_page=True)
def credential_retire(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What retiring means, and a confirmation. A POST erases the keys."""
    credential = _find(request, pk)
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
    messages.success(request, f"{credential.name} retired. Its keys are erased.")
    return _redirect(credential)


def _access_summary(credential: Credential) -> list[tuple[str, list[str]]]:
    """Each list with the names on it. An empty list allows everyone whose role does."""
    entries = access_lists.get_access_entries(credential)
    labels = dict(access_lists.list_entry_choices(entries)) if any(entries.values()) else {}
    return [(kind.label, [labels[name] for name in names]) for kind, names in entries.items()]


def _access_form(request: HttpRequest, credential: Credential) -> AccessForm:
    entries = access_lists.get_access_entries(credential)
    return AccessForm(
        request.POST if request.method == "POST" else None,
        stored=entries,
        choices=access_lists.list_entry_choices(entries),
    )


def _access_page(request: HttpRequest, pk: UUID, *, form: AccessForm | None = None) -> HttpResponse:
    credential = _find(request, pk)
    form = form or _access_form(request, credential)
    status = 422 if form.is_bound else 200
    context = {"credential": credential, "form": form}
    return render(request, "credentials/access.html", context, status=status)


@requires_reauthentication(on_missing=_access_page, before_page=True)
def credential_access(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The access lists of one credential. A POST replaces them."""
    credential = _find(request, pk)
    form = _access_form(request, credential)
    if not form.is_valid():
        return _access_page(request, pk, form=form)
    try:
        access_lists.change_access(
            actor=actor_of(request), credential=credential, wanted=form.entries
        )
    except InvalidInputError as error:
        form.add_errors(error)
        return _access_page(request, pk, form=form)
    messages.success(request, f"Access to {credential.name} saved.")
    return _redirect(credential)


MAX_LINES = 200
# Less than the 60 s after which proxies usually end a request to Org Admin.
IMPORT_SECONDS = 45.0

_LINE_BADGES = {
    LineOutcome.FAILED: Badge("Failed", "danger", "cross"),
    LineOutcome.NOT_REACHED: Badge("Not reached", "warn", "clock"),
    LineOutcome.ADDED: Badge("Added", "ok", "check"),
    LineOutcome.ROTATED: Badge("Rotated", "ok", "key"),
    LineOutcome.SKIPPED: Badge("Skipped", "muted", "minus"),
}
_LINE_EXPLANATIONS = {
    LineOutcome.NOT_REACHED: "Time ran out. Send the same lines again.",
    LineOutcome.SKIPPED: "These keys are stored already.",
}


def _import_page(
    request: HttpRequest,
    form: ImportForm | None = None,
    results: list[LineResult] | None = None,
) -> HttpResponse:
    form = form or ImportForm(initial={"rotate": bool(request.POST.get("rotate"))})
    context = {
        "form": form,
        "headers": [",".join(columns) for columns in COLUMNS],
        "max_lines": MAX_LINES,
        **(_results_context(results) if results else {}),
    }
    status = 422 if form.errors else 200
    return render(request, "credentials/import.html", context, status=status)


def _results_context(results: list[LineResult]) -> dict[str, Any]:
    """The lines that need attention, first, and how many lines have each outcome."""
    counts = Counter(result.outcome for result in results)
    rows = [
        {
            "result": result,
            "badge": _LINE_BADGES[result.outcome],
            "text": result.error or _LINE_EXPLANATIONS.get(result.outcome, ""),
        }
        for outcome in _LINE_BADGES
        for result in results
        if result.outcome is outcome
    ]
    parts = [
        f"{counts[outcome]} {_LINE_BADGES[outcome].label.lower()}"
        for outcome in _LINE_BADGES
        if counts[outcome]
    ]
    is_done = not counts[LineOutcome.FAILED] and not counts[LineOutcome.NOT_REACHED]
    return {"rows": rows, "summary": ", ".join(parts), "is_done": is_done}


# Hides the lines in error reports, even while DEBUG is on: see errors.py.
@sensitive_post_parameters("csv")
@limited("import", per_minute=10)
@requires_reauthentication(on_missing=_import_page, before_page=True)
def credential_import(request: HttpRequest) -> HttpResponse:
    """The form. A POST imports the lines and shows the result of each."""
    if request.method != "POST":
        return _import_page(request)
    form = ImportForm(request.POST, request.FILES)
    try:
        form.require_valid()
        results = import_credentials(
            actor=actor_of(request),
            lines=parse_file(form.cleaned_data["text"], max_lines=MAX_LINES),
            rotate=form.cleaned_data["rotate"],
            seconds=IMPORT_SECONDS,
        )
    except InvalidInputError as error:
        form.add_errors(error)
        return _import_page(request, form)
    return _import_page(request, results=results)
