"""The history of deletions: list and export."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import visible_batch_ids
from connections.core.sites import all_sites
from connections.deletions import history
from connections.deletions.export import prepare_export
from connections.deletions.history_filter import STATUSES, HistoryForm
from connections.inventory.orgs import list_known_orgs
from connections.web.framework import lists
from connections.web.framework.support import actor_of

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
)


def _form(request: HttpRequest, actor: Actor) -> HistoryForm:
    credentials = history.list_selectable_credentials(actor=actor)
    return HistoryForm(request.GET, credentials=credentials)


def deletion_list(request: HttpRequest) -> HttpResponse:
    """All deletions, newest first unless sorted the other way around."""
    actor = actor_of(request)
    form, orgs = _form(request, actor), list_known_orgs(actor=actor)
    page = history.history_page(
        actor=actor,
        filters=form.filters(),
        after=lists.parse_after(request, history.Cursor.parse),
        is_oldest_first=LIST.sort_of(request) == "requested",
    )
    context = {
        "batch_ids": visible_batch_ids(page.deletions, actor=actor),
        "shared_names": lists.shared_names(orgs),
        "bundle_url": reverse("bundle-new") if permissions.can_audit(actor) else "",
    }
    return LIST.render(
        request,
        context,
        form=form,
        rows=page.deletions,
        links=lists.cursor_links(request, page.next),
        count=page.count,
        choices={
            "state": STATUSES,
            "outcome": STATUSES,
            "org": lists.org_options(orgs),
            "site": lists.site_options(site.site for site in all_sites()),
        },
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
