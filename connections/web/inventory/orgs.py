"""The page of one org: its connections, credentials, changes and deletions."""

from collections.abc import Collection
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
from connections.access_requests.listing import AccessRequestFilter, list_access_requests
from connections.changes.changes import ChangeFilter, get_change_page
from connections.core.text import pluralize
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.inventory import rate_limits
from connections.inventory.inventory import Inventory, build_inventory
from connections.inventory.matching import InventoryFilter, KnownOrg, ListedConnection
from connections.inventory.org_details import can_set
from connections.inventory.orgs import OrgCoverage, find_org
from connections.inventory.rate_limits import OrgKey
from connections.lookups.objects import raise_org_not_found
from connections.web.badges import Badge, OrgStatus
from connections.web.changes.rows import change_row_views
from connections.web.credentials.texts import flags_of
from connections.web.deletions.list import deletion_rows
from connections.web.framework import lists
from connections.web.framework.http import actor_of
from connections.web.inventory.rows import ConnectionRowView, connection_row_views

# How many connections per direction, deletions and changes an org's page shows.
MAX_CONNECTIONS = 25
MAX_DELETIONS = 10
MAX_ACCESS_REQUESTS = 5
MAX_CHANGES = 10


def coverage_badge(coverage: OrgCoverage, *, actor: Actor) -> Badge:
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


@dataclass(frozen=True, kw_only=True)
class DirectionView:
    """The connections of an org in one direction, newest first."""

    rows: list[ConnectionRowView]
    total: int
    not_agreed: int
    # Whether the rows say why they aren't agreed.
    has_agreements: bool
    # The list of all connections in this direction.
    url: str


def org_detail(request: HttpRequest, site: str, org_id: UUID) -> HttpResponse:
    """One org: its coverage, its connections in both directions, its deletions."""
    actor = actor_of(request)
    summary = find_org(actor=actor, site=site, org_id=str(org_id))
    if summary is None:
        raise_org_not_found(actor=actor, site=site, org_id=str(org_id))
    key = OrgKey(site=site, org_id=str(org_id))
    org, name = summary.org, summary.org.name or "this org"
    of_org = Q(site=org.site) & (Q(source_org_id=org.org_id) | Q(sink_org_id=org.org_id))
    inventory = build_inventory(
        actor=actor, filters=InventoryFilter(), sort="-created", within=of_org, with_agreements=True
    )
    changes = get_change_page(actor=actor, filters=ChangeFilter(org=(org.key,)), size=MAX_CHANGES)
    deletions = history.history_page(
        actor=actor, filters=HistoryFilter(org=(org.key,)), size=MAX_DELETIONS
    )
    held_back_until = None
    if summary.credentials:
        held_back_until = rate_limits.wait_until(site=org.site, org_id=org.org_id, now=inventory.at)
    listed = inventory.matches
    outgoing = [connection for connection in listed if connection.source_org.org_id == org.org_id]
    incoming = [connection for connection in listed if connection.sink_org.org_id == org.org_id]
    destinations = {connection.sink_org.org_id for connection in outgoing}
    sources = {connection.source_org.org_id for connection in incoming}
    first_outgoing = outgoing[:MAX_CONNECTIONS]
    both = [*first_outgoing, *incoming[:MAX_CONNECTIONS]]
    rows = connection_row_views(inventory, both, actor=actor)
    context: dict[str, Any] = {
        "org": org,
        "summary": summary,
        "coverage": coverage_badge(summary.coverage, actor=actor),
        "credentials": [(credential, flags_of(credential)) for credential in summary.credentials],
        "held_back_until": held_back_until,
        "outgoing": _direction(
            inventory, outgoing, rows=rows[: len(first_outgoing)], url=_list_url(org, side="source")
        ),
        "incoming": _direction(
            inventory,
            incoming,
            rows=rows[len(first_outgoing) :],
            url=_list_url(org, side="destination"),
        ),
        "outgoing_note": f"{pluralize(len(destinations), 'org')} can query {name}",
        "incoming_note": f"{name} can query {pluralize(len(sources), 'org')}",
        "shared_names": lists.shared_names(inventory.orgs),
        "changes": change_row_views(changes.rows, actor=actor),
        "org_query": urlencode({"org": org.key}),
        "group_query": urlencode({"group": summary.group}),
        "can_set_details": bool(can_set(actor=actor, orgs=[key])),
        "access_requests": list_access_requests(
            actor=actor, filters=AccessRequestFilter(org=(org.key,))
        )[:MAX_ACCESS_REQUESTS],
        "deletions": deletion_rows(deletions),
        "batch_ids": visible_batch_ids(deletions.deletions, actor=actor),
        "can_refresh": permissions.can_sync(actor),
        "plannable": len(listed) if permissions.can_delete(actor) else 0,
    }
    return render(request, "inventory/org_detail.html", context)


def _direction(
    inventory: Inventory,
    connections: Collection[ListedConnection],
    *,
    rows: list[ConnectionRowView],
    url: str,
) -> DirectionView:
    agreements = inventory.agreements
    reasons = (
        [agreements.reasons(listed.pair, listed.types_text) for listed in connections]
        if agreements
        else []
    )
    return DirectionView(
        rows=rows,
        total=len(connections),
        not_agreed=sum(map(bool, reasons)),
        has_agreements=bool(agreements and agreements.by_pair),
        url=url,
    )


def _list_url(org: KnownOrg, *, side: str) -> str:
    """The list of all connections of which the org is the source or the destination."""
    return reverse("org-connection-list", query={"site": org.site, side: org.org_id})
