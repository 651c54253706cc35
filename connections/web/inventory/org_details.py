"""Setting the group and the owner of one or many orgs, also from CSV."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.core.errors import DomainError, InvalidInputError
from connections.core.text import pluralize
from connections.inventory.org_details import COLUMNS, import_org_groups, set_org_details
from connections.inventory.orgs import OrgSummary, list_orgs
from connections.lookups.objects import raise_org_not_found
from connections.web.framework.actions import Refusal
from connections.web.framework.addresses import org_url
from connections.web.framework.csv_imports import ImportPage
from connections.web.framework.http import SeeOther, actor_of
from connections.web.framework.lists import shared_names
from connections.web.framework.person_limits import limited
from connections.web.inventory.forms import OrgDetailsForm

_IMPORT = ImportPage(
    template="inventory/org_import.html",
    service=import_org_groups,
    noun="org",
    columns=COLUMNS,
    name_of=lambda row: str(row["org"]),
    list_name="org-list",
)


@limited("import-groups", per_minute=30)
def org_import(request: HttpRequest) -> HttpResponse:
    """The form, a preview of its lines, and their import."""
    return _IMPORT.respond(request)


def org_details(request: HttpRequest) -> HttpResponse:
    """The form about the orgs in the address, or about those that a list posted to edit."""
    if request.method != "POST":
        return _page(request, orgs=request.GET.getlist("org"))
    if "edit" in request.POST:
        return _page(request, orgs=request.POST.getlist("org"))
    form = OrgDetailsForm(request.POST)
    try:
        form.require_valid()
        changed = set_org_details(actor=actor_of(request), **form.arguments)
    except DomainError as error:
        if isinstance(error, InvalidInputError):
            form.add_errors(error)
        refusal = Refusal(form=form, error=error)
        return _page(request, orgs=request.POST.getlist("org"), refusal=refusal)
    if changed:
        messages.success(request, f"{pluralize(len(changed), 'org')} changed.")
    else:
        messages.info(request, "Nothing was changed.")
    keys = form.arguments["orgs"]
    if len(keys) == 1:
        return SeeOther(reverse("org-detail", args=[keys[0].site, keys[0].org_id]))
    return SeeOther(reverse("org-list"))


def _page(request: HttpRequest, *, orgs: list[str], refusal: Refusal | None = None) -> HttpResponse:
    actor = actor_of(request)
    known = {summary.org.key: summary for summary in list_orgs(actor=actor)}
    for key in orgs:
        if key not in known:
            site, _, org_id = key.partition("/")
            raise_org_not_found(actor=actor, site=site, org_id=org_id)
    selected = [known[key] for key in dict.fromkeys(orgs)]
    form = refusal.form if refusal else OrgDetailsForm(initial=_initial(selected))
    form.mark_differing()
    one = org_url(selected[0].org) if len(selected) == 1 else ""
    context = {
        "form": form,
        "orgs": selected,
        "groups": sorted({summary.group for summary in known.values()} - {""}, key=str.casefold),
        "shared_names": shared_names(summary.org for summary in known.values()),
        "back_url": one or reverse("org-list"),
    }
    status = refusal.status if refusal else 200
    return render(request, "inventory/org_details.html", context, status=status)


def _initial(orgs: list[OrgSummary]) -> dict[str, Any]:
    """What all of the orgs have, and in which fields they differ."""
    groups = {summary.group for summary in orgs}
    owners = {summary.owner.username if summary.owner else "" for summary in orgs}
    values = {"group": groups, "owner": owners}
    return {
        "org": [summary.org.key for summary in orgs],
        "differing": [name for name, several in values.items() if len(several) > 1],
        **{name: several.pop() for name, several in values.items() if len(several) == 1},
    }
