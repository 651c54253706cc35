"""The pages of orgs: all of them, and one with its connections, credentials and deletions."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batch_ids
from connections.changes.changes import ChangeFilter, get_change_page
from connections.core.text import pluralize
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.inventory import rate_limits
from connections.inventory.inventory import InventoryFilter, KnownOrg, build_inventory
from connections.inventory.orgs import OrgCoverage, OrgSummary, find_org, list_orgs
from connections.lookups.objects import raise_org_not_found
from connections.web.badges import Badge, OrgStatus
from connections.web.changes.rows import CHANGE_COLUMNS, change_row_views
from connections.web.credentials.texts import flags_of
from connections.web.deletions.history_views import DELETION_COLUMNS
from connections.web.framework.lists import (
    Column,
    Filter,
    FilterBar,
    chosen_sort,
    count_of_total_text,
    filter_bar,
    numbered_links,
    numbered_page,
    shared_names,
    site_filter,
    sortable,
)
from connections.web.framework.support import actor_of
from connections.web.inventory.forms import OrgForm
from connections.web.inventory.rows import ConnectionRowView, connection_row_views

# How many connections per direction, deletions and changes an org's page shows.
MAX_CONNECTIONS = 25
MAX_DELETIONS = 10
MAX_CHANGES = 10
_COLUMNS = (
    Column(label="Org", css="cell-main", sort="org"),
    Column(label="Site", css="cell-site", sort="site"),
    Column(label="Coverage", css="cell-status", sort="coverage"),
    Column(label="Credentials", css="cell-line"),
    Column(label="Last synced", css="cell-time", sort="listed"),
    Column(label="Outgoing", css="cell-number", sort="out"),
    Column(label="Incoming", css="cell-number", sort="in"),
    Column(label="ID", css="cell-id cell-wide"),
)


def org_list(request: HttpRequest) -> HttpResponse:
    """Every org that the person knows."""
    actor = actor_of(request)
    form = OrgForm(request.GET)
    sort = chosen_sort(request, _COLUMNS, default="org")
    every = list_orgs(actor=actor, sort=sort)
    filters = form.org_filter()
    matches = [org for org in every if filters.matches(org)]
    page = numbered_page(request, matches)
    context = {
        "rows": [
            (summary, _coverage_badge(summary.coverage, actor=actor))
            for summary in page.object_list
        ],
        "columns": sortable(request, _COLUMNS, sort=sort),
        "shared_names": shared_names(org.org for org in every),
        "bar": _filter_bar(request, every, actor=actor),
        "count": count_of_total_text(len(matches), total=len(every), noun="org"),
        "has_orgs": bool(every),
        **numbered_links(request, page),
        "can_manage_credentials": permissions.can_manage_credentials(actor),
    }
    return render(request, "inventory/org_list.html", context)


def _coverage_badge(coverage: OrgCoverage, *, actor: Actor) -> Badge:
    match coverage:
        case OrgCoverage.LISTED:
            status = OrgStatus.SYNCED
        case OrgCoverage.FAILING:
            status = OrgStatus.FAILING
        case OrgCoverage.NO_CREDENTIAL if permissions.visibility_of(actor).hidden:
            status = OrgStatus.NO_VISIBLE_CREDENTIAL
        case OrgCoverage.NO_CREDENTIAL:
            status = OrgStatus.NO_CREDENTIAL
    return status.value


def _filter_bar(request: HttpRequest, orgs: list[OrgSummary], *, actor: Actor) -> FilterBar:
    return filter_bar(
        request,
        [
            site_filter(sorted({org.org.site for org in orgs})),
            Filter(
                name="coverage",
                label="Coverage",
                options=[
                    (coverage.value, _coverage_badge(coverage, actor=actor).label)
                    for coverage in OrgCoverage
                ],
            ),
        ],
    )


@dataclass(frozen=True, kw_only=True)
class DirectionView:
    """The connections of an org in one direction, newest first."""

    rows: list[ConnectionRowView]
    total: int
    # The list of all connections in this direction.
    url: str


def org_detail(request: HttpRequest, site: str, org_id: UUID) -> HttpResponse:
    """One org: its coverage, its connections in both directions, its deletions."""
    actor = actor_of(request)
    summary = find_org(actor=actor, site=site, org_id=str(org_id))
    if summary is None:
        raise_org_not_found(actor=actor, site=site, org_id=str(org_id))
    org, name = summary.org, summary.org.name or "this org"
    of_org = Q(site=org.site) & (Q(source_org_id=org.org_id) | Q(sink_org_id=org.org_id))
    inventory = build_inventory(
        actor=actor, filters=InventoryFilter(), sort="-created", within=of_org
    )
    changes = get_change_page(actor=actor, filters=ChangeFilter(org=org.key), size=MAX_CHANGES)
    deletions = history.history_page(
        actor=actor, filters=HistoryFilter(org=org.key), size=MAX_DELETIONS
    )
    held_back_until = None
    if summary.credentials:
        held_back_until = rate_limits.wait_until(site=org.site, org_id=org.org_id, now=inventory.at)
    listed = inventory.matches
    outgoing = [connection for connection in listed if connection.source_org.org_id == org.org_id]
    incoming = [connection for connection in listed if connection.sink_org.org_id == org.org_id]
    destinations = {connection.sink_org.org_id for connection in outgoing}
    sources = {connection.source_org.org_id for connection in incoming}
    shown = outgoing[:MAX_CONNECTIONS]
    both = [*shown, *incoming[:MAX_CONNECTIONS]]
    rows = connection_row_views(inventory, both, actor=actor)
    context: dict[str, Any] = {
        "org": org,
        "summary": summary,
        "coverage": _coverage_badge(summary.coverage, actor=actor),
        "credentials": [(credential, flags_of(credential)) for credential in summary.credentials],
        "held_back_until": held_back_until,
        "outgoing": DirectionView(
            rows=rows[: len(shown)], total=len(outgoing), url=_list_url(org, side="source")
        ),
        "incoming": DirectionView(
            rows=rows[len(shown) :], total=len(incoming), url=_list_url(org, side="destination")
        ),
        "outgoing_note": f"{pluralize(len(destinations), 'org')} can query {name}",
        "incoming_note": f"{name} can query {pluralize(len(sources), 'org')}",
        "shared_names": shared_names(inventory.orgs),
        "changes": change_row_views(changes.rows, actor=actor),
        "change_columns": CHANGE_COLUMNS,
        "org_query": urlencode({"org": org.key}),
        "deletions": deletions.deletions,
        "batch_ids": visible_batch_ids(deletions.deletions, actor=actor),
        "deletion_columns": DELETION_COLUMNS,
        "can_refresh": permissions.can_sync(actor),
        "can_plan": bool(listed) and permissions.can_delete(actor),
    }
    return render(request, "inventory/org_detail.html", context)


def _list_url(org: KnownOrg, *, side: str) -> str:
    """The list of all connections of which the org is the source or the destination."""
    return reverse("org-connection-list", query={"site": org.site, side: org.org_id})
