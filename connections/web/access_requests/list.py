"""The list of access requests, and its export."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from connections.access_requests.concealing import conceal
from connections.access_requests.listing import (
    list_access_requests,
    list_owners,
    prepare_export,
)
from connections.inventory.choices import list_groups
from connections.inventory.orgs import list_known_orgs
from connections.web.access_requests.forms import AccessRequestFilters
from connections.web.framework import lists
from connections.web.framework.http import actor_of
from connections.web.overview.parts import is_part, render_part

LIST = lists.ListPage(
    title="Access requests",
    noun="access request",
    template="access_requests/list.html",
    more=("site", "org", "group", "owner"),
    export_url="access-request-export",
)


def access_request_list(request: HttpRequest) -> HttpResponse:
    """All access requests, newest first."""
    if is_part(request):
        return render_part(request, entry="access-request-list", title=LIST.title)
    actor, form = actor_of(request), AccessRequestFilters(request.GET)
    rows = list_access_requests(actor=actor, filters=form.filters())
    page = lists.numbered_page(request, rows)
    orgs = list_known_orgs(actor=actor)
    return LIST.render(
        request,
        {"shared_names": lists.shared_names(orgs)},
        form=form,
        rows=conceal(page.object_list, actor=actor),
        links=lists.numbered_links(request, page),
        count=page.paginator.count,
        choices={
            "site": lists.site_options(sorted({org.site for org in orgs})),
            "org": lists.org_options(orgs),
            "group": [(group, group) for group in list_groups(actor=actor)],
            "owner": [(owner.username, owner.display_name) for owner in list_owners(actor=actor)],
        },
    )


def access_request_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered access requests, streamed as a file."""
    return lists.export(
        request,
        title=LIST.title,
        form=AccessRequestFilters(request.GET),
        prepare=prepare_export,
        file_name="access-requests",
    )
