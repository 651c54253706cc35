"""The history of deletions: list, filters and export."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render

from connections.access import permissions
from connections.access.visibility import visible_batch_ids
from connections.core.sites import all_sites
from connections.deletions import history
from connections.deletions.export import prepare_export
from connections.deletions.history import Cursor, HistoryFilter
from connections.deletions.history_filter import PERIODS, STATUSES, HistoryForm
from connections.inventory.inventory import KnownOrg
from connections.inventory.orgs import list_known_orgs
from connections.models import Credential, Person
from connections.web.framework.lists import (
    Column,
    Filter,
    FilterBar,
    chosen_sort,
    cursor_links,
    export_query,
    filter_bar,
    found_count_text,
    org_filter,
    parse_after,
    shared_names,
    site_filter,
    sortable,
)
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import actor_of, download, export_format

DELETION_COLUMNS = (
    Column(label="Requested", css="cell-time cell-requested", sort="requested"),
    Column(label="Status", css="cell-status"),
    Column(label="Connection and reason", css="cell-main cell-pair"),
    Column(label="Site", css="cell-site cell-medium"),
    Column(label="Ticket", css="cell-ticket"),
    Column(label="Requester", css="cell-person"),
)


def deletion_list(request: HttpRequest) -> HttpResponse:
    """All deletions, newest first unless sorted the other way around."""
    actor = actor_of(request)
    credentials = history.list_selectable_credentials(actor=actor)
    orgs = list_known_orgs(actor=actor)
    form = HistoryForm(request.GET, credentials=credentials)
    filters = form.history_filter() if form.is_valid() else HistoryFilter()
    sort = chosen_sort(request, DELETION_COLUMNS, default="-requested")
    page = history.history_page(
        actor=actor,
        filters=filters,
        after=parse_after(request, Cursor.parse),
        is_oldest_first=sort == "requested",
    )
    bar = _filter_bar(request, form=form, orgs=orgs, credentials=credentials)
    context: dict[str, Any] = {
        "form": form,
        "deletions": page.deletions,
        "batch_ids": visible_batch_ids(page.deletions, actor=actor),
        "columns": sortable(request, DELETION_COLUMNS, sort=sort),
        "shared_names": shared_names(orgs),
        "count": found_count_text(page.count, most=history.MAX_COUNTED, noun="deletion", bar=bar),
        "bar": bar,
        **cursor_links(request, page.next),
        "export_query": export_query(request),
        "can_export": permissions.can_export(actor),
        "can_audit": permissions.can_audit(actor),
    }
    return render(request, "deletions/list.html", context)


def _filter_bar(
    request: HttpRequest,
    *,
    form: HistoryForm,
    orgs: list[KnownOrg],
    credentials: Iterable[Credential],
) -> FilterBar:
    by_name = Person.objects.order_by("username")
    people = [(str(person.pk), person.display_name) for person in by_name]
    # Older addresses can contain a state or an outcome instead of a status.
    exact = [
        Filter(name=name, label="Status", options=STATUSES)
        for name in ("state", "outcome")
        if request.GET.get(name)
    ]
    return filter_bar(
        request,
        [
            Filter(name="period", label="Period", options=list(PERIODS.items())),
            Filter(name="status", label="Status", options=STATUSES),
            *exact,
        ],
        more=[
            Filter(name="person", label="Requester", options=people),
            org_filter(orgs),
            Filter(
                name="credential",
                label="Credential",
                options=[(str(credential.pk), credential.name) for credential in credentials],
            ),
            site_filter(site.site for site in all_sites()),
            Filter(name="ticket", label="Ticket"),
            Filter(name="connection_id", label="Connection ID"),
            Filter(name="batch", label="Bulk deletion"),
            Filter(name="since", label="From (UTC day, 2026-01-31)"),
            Filter(name="until", label="To (UTC day, 2026-01-31)"),
        ],
        more_on_demand=True,
        invalid=list(form.errors),
    )


@limited("export", per_minute=30)
def deletion_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered deletions, streamed as a file."""
    actor = actor_of(request)
    file_format = export_format(request)
    form = HistoryForm(request.GET, credentials=history.list_selectable_credentials(actor=actor))
    if not form.is_valid():
        raise BadRequest("A filter in this address can't be used. Set it on the Deletions page.")
    export = prepare_export(
        actor=actor,
        filters=form.history_filter(),
        file_format=file_format,
        query=export_query(request),
    )
    return download(request, export=export, name="deletions")
