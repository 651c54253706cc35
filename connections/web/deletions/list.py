"""The history of deletions: list and export."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batch_ids
from connections.batches.texts import batch_origin_text
from connections.core.sites import all_sites
from connections.deletions import history
from connections.deletions.export import prepare_export
from connections.deletions.history_filter import HistoryForm, current_query
from connections.inventory.orgs import list_known_orgs
from connections.models import Batch, Deletion
from connections.web.badges import Badge, batch_badge
from connections.web.deletions.chart import build_chart
from connections.web.framework import lists
from connections.web.framework.http import actor_of
from connections.web.overview.parts import is_part, render_part

LIST = lists.ListPage(
    title="Deletions",
    noun="deletion",
    template="deletions/list.html",
    sorts=["requested"],
    default_sort="-requested",
    more=(
        *("person", "org", "credential", "site", "ticket", "connection_id", "batch"),
        *("since", "until"),
    ),
    more_on_demand=True,
    most=history.MAX_COUNTED,
    export_url="deletion-export",
    kept=("sort", "view"),
)
# The value of the parameter `view`, and the view that has an address of its own.
CHART = "chart"
BULK = "Bulk"


@dataclass(frozen=True, kw_only=True)
class BulkView:
    """The row that stands for the deletions of a bulk deletion."""

    batch: Batch
    count: int
    # "All connections of Labs".
    origin: str
    badge: Badge


def deletion_rows(page: history.HistoryPage) -> list[tuple[Deletion, BulkView | None]]:
    """The rows of deletions/table.html: a deletion, and the bulk deletion that it stands for."""
    return [(deletion, _bulk_view(deletion, folded=page.folded)) for deletion in page.deletions]


def _bulk_view(deletion: Deletion, *, folded: dict[UUID, history.BulkMatches]) -> BulkView | None:
    batch = deletion.batch if deletion.batch_id in folded else None
    if batch is None:
        return None
    matches = folded[batch.pk]
    return BulkView(
        batch=batch,
        count=matches.count,
        origin=batch_origin_text(batch),
        badge=batch_badge(batch, has_expired=False, is_all_gone=matches.gone == matches.count),
    )


def _form(request: HttpRequest, actor: Actor) -> HistoryForm:
    request.GET = current_query(request.GET)  # type: ignore[assignment]
    credentials = history.list_selectable_credentials(actor=actor)
    return HistoryForm(request.GET, credentials=credentials)


def view_links(request: HttpRequest, *, current: str) -> list[lists.ViewLink]:
    """The links to the views of the deletions. List and chart keep the filters."""
    query = QueryDict() if current == BULK else request.GET
    page = lists.as_page_request(request, path=reverse("deletion-list"), query=query)
    urls = {
        "List": lists.list_url(page, view=""),
        "Chart": lists.list_url(page, view=CHART, sort=""),
        BULK: reverse("batch-list"),
    }
    return lists.view_links(urls, current=current)


def deletion_list(request: HttpRequest) -> HttpResponse:
    """All deletions, newest first unless sorted the other way around; or their chart."""
    if is_part(request):
        return render_part(request, entry="deletion-list", title=LIST.title)
    actor = actor_of(request)
    form, orgs = _form(request, actor), list_known_orgs(actor=actor)
    choices: dict[str, lists.Options] = {
        "org": lists.org_options(orgs),
        "site": lists.site_options(site.site for site in all_sites()),
    }
    context: dict[str, Any] = {
        "shared_names": lists.shared_names(orgs),
        "bundle_url": reverse("bundle-new") if permissions.can_audit(actor) else "",
    }
    if request.GET.get("view") == CHART:
        chart = build_chart(request, actor=actor, filters=form.filters())
        context |= {"chart": chart, "views": view_links(request, current="Chart")}
        return LIST.render(
            request,
            context,
            form=form,
            rows=chart.bars,
            links={"first_url": "", "next_url": ""},
            count=chart.total,
            choices=choices,
        )
    page = history.history_page(
        actor=actor,
        filters=form.filters(),
        after=lists.parse_after(request, history.Cursor.parse),
        is_oldest_first=LIST.sort_of(request) == "requested",
        folds=True,
    )
    context |= {
        "batch_ids": visible_batch_ids(page.deletions, actor=actor),
        "views": view_links(request, current="List"),
    }
    return LIST.render(
        request,
        context,
        form=form,
        rows=deletion_rows(page),
        links=lists.cursor_links(request, page.next),
        count=page.count,
        choices=choices,
    )


def deletion_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered deletions, streamed as a file."""
    return lists.export(
        request,
        title=LIST.title,
        form=_form(request, actor_of(request)),
        prepare=prepare_export,
        file_name="deletions",
    )
