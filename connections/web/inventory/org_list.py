"""The list of orgs with their credentials."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.core.text import pluralize
from connections.inventory.orgs import (
    ORG_SORT_KEYS,
    OrgCoverage,
    OrgPart,
    OrgSummary,
    list_orgs_and_retired,
)
from connections.models import ApprovalPolicy, Credential
from connections.web.badges import Badge, CredentialStatus, credential_badge
from connections.web.credentials.texts import needs_keys
from connections.web.framework import lists
from connections.web.framework.http import actor_of, time_of
from connections.web.inventory.forms import OrgFilters
from connections.web.inventory.orgs import coverage_badge

LIST = lists.ListPage(
    title="Orgs",
    noun="org",
    template="inventory/org_list.html",
    sorts=ORG_SORT_KEYS,
    default_sort="credential",
    kept=("sort", "show"),
)


@dataclass(frozen=True, kw_only=True)
class OrgRow:
    """An org, and the credential that needs something first."""

    summary: OrgSummary
    # None if the org has none that the person can see.
    credential: Credential | None
    # What is wrong with it. None for a healthy one.
    problem: Badge | None
    # In place of a problem, or before the one of several credentials.
    text: str
    key_age: str
    # The next step; "" if there is none.
    next_label: str
    next_url: str


def org_list(request: HttpRequest) -> HttpResponse:
    """Every org that the person knows, and every credential."""
    actor, form, now = actor_of(request), OrgFilters(request.GET), time_of(request)
    orgs, retired = list_orgs_and_retired(actor=actor, sort=LIST.sort_of(request))
    form.is_valid()
    site, group, text = (form.cleaned_data.get(name, "") for name in ("site", "group", "q"))
    found = [org for org in orgs if org.matches(site=site, group=group, text=text)]
    groups = sorted({org.group for org in orgs} - {""}, key=str.casefold)
    show = request.GET.get("show", "")
    shown = [org for org in found if show in org.parts] if show in set(OrgPart) else found
    page = lists.numbered_page(request, shown)
    context = {
        "shared_names": lists.shared_names(org.org for org in orgs),
        "parts": _part_links(request, found),
        "can_plan": permissions.can_delete(actor),
        "has_groups": bool(groups),
        "has_owners": any(org.owner for org in orgs),
        "can_manage_credentials": permissions.can_manage_credentials(actor),
        "retired": retired,
    }
    return LIST.render(
        request,
        context,
        form=form,
        rows=[_org_row(org, actor=actor, now=now) for org in page.object_list],
        links=lists.numbered_links(request, page),
        count=_count(shown),
        total=_count(orgs),
        choices={
            "site": lists.site_options(sorted({org.org.site for org in orgs})),
            "group": [(name, name) for name in groups],
        },
    )


def _count(orgs: list[OrgSummary]) -> int:
    """How many of these are orgs, not credentials whose org isn't known yet."""
    return sum(1 for org in orgs if org.org.org_id)


def _part_links(request: HttpRequest, found: list[OrgSummary]) -> list[lists.ViewLink]:
    """The links to all orgs and to the parts that have any."""
    labels = {
        OrgPart.FAILING: "Failing",
        OrgPart.READ_ONLY: "Read-only",
        OrgPart.NO_CREDENTIAL: "No credential",
        OrgPart.OLD_KEYS: f"Keys over {settings.KEY_MAX_AGE.days} days",
    }
    show = request.GET.get("show", "")
    counts = {part: sum(1 for org in found if part in org.parts) for part in OrgPart}
    parts = [("All", "", _count(found))]
    parts += [
        (labels[part], part, counts[part]) for part in OrgPart if counts[part] or part == show
    ]
    current = show if show in counts else ""
    return lists.part_links(request, parts, current=current) if len(parts) > 1 else []


def _org_row(summary: OrgSummary, *, actor: Actor, now: datetime) -> OrgRow:
    credential = max(
        summary.credentials,
        key=lambda each: (each.is_failing, each.is_read_only, each.has_old_keys(now=now)),
        default=None,
    )
    next_label, next_url = "", ""
    if permissions.can_manage_credentials(actor):
        next_label, next_url = _next_step(summary, credential, now=now)
    return OrgRow(
        summary=summary,
        credential=credential,
        problem=_problem(summary, credential, actor=actor),
        text=_credential_text(summary, credential),
        key_age=f"{(now - summary.keys_set_at).days} d" if summary.keys_set_at else "",
        next_label=next_label,
        next_url=next_url,
    )


def _problem(summary: OrgSummary, credential: Credential | None, *, actor: Actor) -> Badge | None:
    if credential is None:
        return coverage_badge(summary.coverage, actor=actor)
    if credential.is_failing:
        return credential_badge(credential)
    if summary.coverage is OrgCoverage.FAILING:
        return coverage_badge(summary.coverage, actor=actor)
    return CredentialStatus.READ_ONLY.value if credential.is_read_only else None


def _credential_text(summary: OrgSummary, credential: Credential | None) -> str:
    if credential is None:
        return ""
    if len(summary.credentials) > 1:
        return pluralize(len(summary.credentials), "credential")
    kind = "Access token" if credential.has_access_token else "Key pair"
    needed = ApprovalPolicy(credential.policy).approvals_needed
    return f"{kind}, {pluralize(needed, 'approval')}" if needed else kind


def _next_step(
    summary: OrgSummary, credential: Credential | None, *, now: datetime
) -> tuple[str, str]:
    """The label and the address of what to do next; both "" if there is nothing to do."""
    if credential is None:
        return "Add credential", reverse("credential-new", query={"site": summary.org.site})
    rotate_url = reverse("credential-rotate", args=[credential.pk])
    if needs_keys(credential) or not credential.verified_at:
        return "Enter the keys again", rotate_url
    if credential.is_read_only or credential.has_old_keys(now=now):
        return "Rotate keys…", rotate_url
    return "", ""
