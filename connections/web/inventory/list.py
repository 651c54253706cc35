"""The list of connections, and its export."""

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.batches import drafts
from connections.core.text import uuid_or_none
from connections.inventory.choices import find_agreement_choices
from connections.inventory.export import prepare_export
from connections.inventory.filters import ConnectionFilters
from connections.inventory.inventory import ENDS, SORT_KEYS, VISIBLE, build_inventory
from connections.inventory.rate_limits import OrgKey
from connections.models import Deletion
from connections.people import people
from connections.web.framework import lists
from connections.web.framework.addresses import by_id_links
from connections.web.framework.http import actor_of
from connections.web.inventory.filters import agreement_choices, connection_choices, unused_filters
from connections.web.inventory.head import head_of
from connections.web.inventory.matrix import MATRIX, RARE_FILTERS, matrix_page, view_links
from connections.web.inventory.rows import SELECTED_FACTS, connection_row_views

# With fewer orgs that have a credential, and no more connections than that, a search is enough.
FILTERS_FROM_ORGS = 2
FILTERS_ABOVE = 25
MATRIX_FROM_ORGS = 5
# Rows have checkboxes if there are more connections.
SELECTION_ABOVE = 12
LIST = lists.ListPage(
    title="Connections",
    noun="connection",
    template="inventory/list.html",
    sorts=[*SORT_KEYS, VISIBLE, ENDS],
    default_sort="source",
    more=RARE_FILTERS,
    export_url="org-connection-export",
)


def org_connection_list(request: HttpRequest) -> HttpResponse:
    """All org connections in the newest stored snapshots, as a list or as a matrix."""
    actor, form = actor_of(request), ConnectionFilters(request.GET)
    if request.GET.get("view") == MATRIX and form.is_valid():
        return matrix_page(request)
    filters, query = form.filters(), urlencode(form.values(), doseq=True)
    inventory = build_inventory(actor=actor, filters=filters, sort=LIST.sort_of(request))
    agreed = find_agreement_choices(actor=actor)
    matches = len(inventory.matches)
    can_delete = permissions.can_delete(actor)
    can_plan = can_delete and inventory.total > SELECTION_ABOVE and not form.errors
    can_select_all = can_plan and bool(query) and matches <= drafts.MAX_ROWS
    selects_all = can_select_all and "all" in request.GET
    size = drafts.MAX_ROWS if selects_all else None
    page = lists.numbered_page(request, inventory.matches, size=size)
    orgs = {OrgKey.of(each) for each in inventory.credentials.values() if each.org_id}
    only_search = not form.errors and form.values().keys() <= {"q"}
    has_few = len(orgs) < FILTERS_FROM_ORGS and inventory.total <= FILTERS_ABOVE
    is_small = has_few and only_search
    has_no_credential = not inventory.credentials
    unlisted_id = uuid_or_none(filters.text) if only_search and not matches else None
    # Not the inventory itself: a context stays in memory until the next garbage collection, and
    # with it every connection would.
    context = {
        "head": head_of(
            inventory.coverage, filters=filters, query=query, actor=actor, at=inventory.at
        ),
        "place": query if form.errors else request.GET.urlencode(),
        "is_small": is_small,
        "has_agreements": agreed.has_agreements,
        "table_css": "list-connections list-agreed"
        if agreed.has_agreements
        else "list-connections",
        "explains": not inventory.total or (is_small and not _has_deleted(actor)),
        "unlisted_protections": inventory.unlisted_protections,
        "can_plan": can_plan,
        "selects_all": selects_all,
        "matching": matches if can_select_all and page.has_other_pages() else 0,
        "all_url": lists.list_url(request, all="1"),
        "facts": SELECTED_FACTS,
        "by_id_links": by_id_links(unlisted_id, actor=actor) if unlisted_id else [],
        "shared_names": lists.shared_names(inventory.orgs),
        "views": view_links(request) if len(orgs) >= MATRIX_FROM_ORGS else [],
        "has_no_credential": has_no_credential,
        "is_synced": bool(inventory.coverage.listed or inventory.coverage.failed),
        "administrators": people.list_administrator_names() if has_no_credential else [],
        "can_manage_credentials": permissions.can_manage_credentials(actor),
    }
    return LIST.render(
        request,
        context,
        form=form,
        rows=connection_row_views(inventory, list(page.object_list), actor=actor),
        links=lists.numbered_links(request, page),
        count=matches,
        total=inventory.total,
        choices=connection_choices(inventory.orgs, inventory.connection_types, inventory.creators)
        | agreement_choices(agreed, actor=actor),
        without=unused_filters(agreed, form),
        # A link from an org's page or from the matrix names the org by its ID.
        names={org.org_id: org.name for org in inventory.orgs},
    )


def _has_deleted(actor: Actor) -> bool:
    """Whether the person has requested a deletion, and so knows what a connection is."""
    return Deletion.objects.filter(requested_by=actor.person).exists()


def list_url(filters: QueryDict) -> str:
    """The list or matrix with these filters, in the same order and on the same page."""
    place = {name: filters[name] for name in ("view", "sort", "page", "all") if name in filters}
    return reverse("org-connection-list", query=ConnectionFilters(filters).values() | place)


def org_connection_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered inventory, streamed as a file. Each row has the time it was read."""
    return lists.export(
        request,
        title=LIST.title,
        form=ConnectionFilters(request.GET),
        prepare=prepare_export,
        file_name="org-connections",
    )
