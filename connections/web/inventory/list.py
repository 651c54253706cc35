"""The list of connections, and its export."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.batches import drafts
from connections.core.text import format_age, format_relative
from connections.inventory.export import prepare_export
from connections.inventory.filters import DISABLED, ConnectionFilters
from connections.inventory.inventory import SORT_KEYS, VISIBLE, Inventory, build_inventory
from connections.inventory.matrix import list_connections_between
from connections.people import people
from connections.web.framework import lists
from connections.web.framework.support import actor_of, connection_url
from connections.web.inventory.matrix import MATRIX, matrix_page, view_links
from connections.web.inventory.rows import connection_row_views, failed_syncs

LIST = lists.ListPage(
    title="Connections",
    noun="connection",
    template="inventory/list.html",
    sorts=[*SORT_KEYS, VISIBLE],
    default_sort="source",
    more=["source", "destination"],
    export_url="org-connection-export",
)


def org_connection_list(request: HttpRequest) -> HttpResponse:
    """All org connections in the newest stored snapshots, as a list or as a matrix."""
    if request.GET.get("view") == MATRIX:
        return matrix_page(request)
    actor, form = actor_of(request), ConnectionFilters(request.GET)
    filters, query = form.filters(), urlencode(form.values(), doseq=True)
    inventory = build_inventory(actor=actor, filters=filters, sort=LIST.sort_of(request))
    matches = len(inventory.matches)
    page = lists.numbered_page(request, inventory.matches)
    # Not the inventory itself: a context stays in memory until the next garbage collection, and
    # with it every connection would.
    context = {
        "matches": matches,
        "coverage": inventory.coverage,
        "unlisted_protections": inventory.unlisted_protections,
        "at": inventory.at,
        "can_plan": permissions.can_delete(actor),
        "plannable": matches if matches <= drafts.MAX_ROWS else 0,
        "shared_names": lists.shared_names(inventory.orgs),
        "views": view_links(request),
        "query": query,
        **_freshness(inventory, actor=actor),
        "can_refresh": permissions.can_sync(actor),
        "can_protect": permissions.can_protect(actor),
        # `start_review` refuses a filter by time.
        "can_start_access_review": permissions.can_manage_access_reviews(actor)
        and not filters.is_relative,
        "access_review_url": reverse(
            "access-review-new", query={"scope": query} if query else None
        ),
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
        choices={
            "site": lists.site_options(sorted({org.site for org in inventory.orgs})),
            "org": lists.org_options(inventory.orgs),
            "type": [(kind, kind) for kind in inventory.connection_types],
            "creator": [DISABLED, *((name, name) for name in inventory.creators)],
        },
        # A link from an org's page or from the matrix names the org by its ID.
        names={org.org_id: org.name for org in inventory.orgs},
    )


def _freshness(inventory: Inventory, *, actor: Actor) -> dict[str, Any]:
    coverage = inventory.coverage
    has_no_credential = not (coverage.listed or coverage.failed or coverage.never_listed)
    oldest_at = coverage.oldest_at
    newest_syncs = [*coverage.listed, *coverage.failed]
    age = format_age(oldest_at, now=inventory.at) if oldest_at else ""
    as_of = [f"oldest sync {age}"] if age else []
    if coverage.next_sync_at:
        as_of.append(f"next sync due {format_relative(coverage.next_sync_at, now=inventory.at)}")
    return {
        "age": age,
        "as_of": ", ".join(as_of),
        "failed_syncs": failed_syncs(coverage),
        "only_sync": newest_syncs[0] if len(newest_syncs) == 1 else None,
        "unverified": [credential for credential in coverage.never_listed if not credential.org_id],
        "has_no_credential": has_no_credential,
        "administrators": people.list_administrator_names() if has_no_credential else [],
        "refreshes_automatically": coverage.is_stale and permissions.can_sync(actor),
    }


def org_connection_between(request: HttpRequest) -> HttpResponse:
    """Redirect to the connection from one org to another, or to the list if there are several.

    A cell of the matrix links here because this address compresses better than one with the
    connection's ID, which no other cell has.
    """
    filters = ConnectionFilters(request.GET).filters()
    connections = list_connections_between(
        actor=actor_of(request),
        site=next(iter(filters.site), ""),
        source_org_id=filters.source,
        sink_org_id=filters.destination,
    )
    if len(connections) == 1:
        return HttpResponseRedirect(connection_url(connections[0]))
    return HttpResponseRedirect(list_url(request.GET))


def list_url(filters: QueryDict) -> str:
    """The list or matrix with these filters."""
    query = ConnectionFilters(filters).values()
    if filters.get("view") == MATRIX:
        query["view"] = MATRIX
    return reverse("org-connection-list", query=query)


def org_connection_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered inventory, streamed as a file. Each row has the time it was read."""
    return lists.export(
        request,
        title=LIST.title,
        form=ConnectionFilters(request.GET),
        prepare=prepare_export,
        file_name="org-connections",
    )
