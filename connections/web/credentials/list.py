"""The list of credentials."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.credentials import lifecycle
from connections.models import Credential
from connections.web.credentials import texts
from connections.web.credentials.forms import CredentialForm
from connections.web.framework.support import actor_of


def credential_list(request: HttpRequest) -> HttpResponse:
    """Every credential, with the form to add one if there are none."""
    actor = actor_of(request)
    rows = [context_of(credential) for credential in lifecycle.list_credentials(actor=actor)]
    in_use = [row for row in rows if not row["credential"].is_retired]
    context = {
        "in_use": in_use,
        "retired": [row for row in rows if row["credential"].is_retired],
        "can_manage": permissions.can_manage_credentials(actor),
        "form": CredentialForm() if not in_use else None,
    }
    return render(request, "credentials/list.html", context)


def context_of(credential: Credential) -> dict[str, Any]:
    """Template variables of one credential."""
    org = f"{credential.site}/{credential.org_id}"
    return {
        "credential": credential,
        "problem": texts.problem_of(credential),
        "flags": texts.flags_of(credential),
        "connections_url": reverse("org-connection-list", query={"org": org}),
    }
