"""The page of one credential: its key checks, use and settings."""

from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from connections.access import permissions
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.credentials import access_lists, lifecycle
from connections.inventory import rate_limits
from connections.lookups.objects import find_credential
from connections.models import AccessKind, ApprovalPolicy, Credential
from connections.web.badges import credential_badge
from connections.web.credentials import texts
from connections.web.credentials.forms import CreatorForm, PolicyForm, RenameForm
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.http import actor_of, redirect_to

_ACCESS = {
    AccessKind.SEE: "Who can see it",
    AccessKind.USE: "Who can use it",
    AccessKind.APPROVE: "Who can approve with it",
}


def credential_list(request: HttpRequest) -> HttpResponse:
    """Redirects to the orgs, whose list has the credentials."""
    return redirect("org-list")


def credential_detail(
    request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED
) -> HttpResponse:
    """One credential: its key checks, use and settings.

    After a refusal, it has the posted form, or a message above it.
    """
    actor, form, error = actor_of(request), refusal.form, refusal.error
    credential = find_credential(actor=actor, pk=pk)
    if error and not isinstance(error, InvalidInputError):
        return redirect_with_error(request, credential, error)
    has_failed_since = credential.is_verified and bool(credential.last_error)
    org = f"{credential.site}/{credential.org_id}"
    context = {
        "credential": credential,
        "problem": texts.problem_of(credential),
        "flags": texts.flags_of(credential),
        "connections_url": reverse("org-connection-list", query={"org": org}),
        "status": credential_badge(credential),
        "checks": texts.key_check_rows(credential.verification, are_outdated=has_failed_since),
        "has_failed_since": has_failed_since,
        "needs_keys": texts.needs_keys(credential),
        "is_new": not credential.verified_at,
        "checked_at": texts.checked_at(credential),
        "managed_org_count": credential.managed_orgs.count(),
        "managed_orgs_problem": texts.failure_text_of(credential.managed_orgs_error),
        "deletion_count": credential.deletions.count(),
        "connection_count": lifecycle.count_connections(credential),
        "newest_sync": credential.syncs.first(),
        "last_complete_sync": credential.syncs.filter(is_complete=True).first(),
        "held_back_until": _held_back_until(credential),
        "policy_label": ApprovalPolicy(credential.policy).label,
        "access": _access_summary(credential),
        "access_warnings": access_lists.list_access_warnings(credential),
        "can_manage": permissions.can_manage_credentials(actor) and not credential.is_retired,
        "can_administer": permissions.can_administer(actor),
        "rename_form": form
        if isinstance(form, RenameForm)
        else RenameForm(initial={"name": credential.name}),
        "policy_form": form
        if isinstance(form, PolicyForm)
        else PolicyForm(initial={"policy": credential.policy}),
        "creator_form": form
        if isinstance(form, CreatorForm)
        else CreatorForm(initial={"allow_person": "yes" if credential.person_can_create else "no"}),
    }
    return render(request, "credentials/detail.html", context, status=refusal.status)


def _held_back_until(credential: Credential) -> datetime | None:
    if credential.is_retired or not credential.org_id:
        return None
    return rate_limits.wait_until(site=credential.site, org_id=credential.org_id, now=clock.now())


def _access_summary(credential: Credential) -> list[tuple[str, list[str]]]:
    """Each list with the names on it; none if all are empty. Anyone whose role allows it is on
    an empty list.
    """
    entries = access_lists.get_access_entries(credential)
    if not any(entries.values()):
        return []
    labels = dict(access_lists.list_entry_choices(entries))
    return [(_ACCESS[kind], [labels[name] for name in names]) for kind, names in entries.items()]


def redirect_with_error(
    request: HttpRequest, credential: Credential, error: object
) -> HttpResponse:
    """A 303 to the credential's page, with a message that says why nothing happened."""
    messages.error(request, str(error))
    return redirect_to(credential)
