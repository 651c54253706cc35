"""The list of changes and their export."""

from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase

from connections.changes import changes
from connections.changes.export import prepare_export
from connections.core.sites import all_sites
from connections.core.text import uuid_or_none
from connections.inventory.choices import list_groups
from connections.inventory.orgs import list_known_orgs
from connections.web.changes.forms import AcknowledgementForm, ChangeFilters
from connections.web.changes.rows import change_row_views
from connections.web.framework import lists
from connections.web.framework.http import actor_of

LIST = lists.ListPage(
    title="Changes",
    noun="change",
    template="changes/list.html",
    kept=("attention", "acknowledged"),
    most=changes.MAX_COUNTED,
    export_url="change-export",
)
NEEDS_ATTENTION = ("yes", "no")
EVERY = ("", "")


def change_list(
    request: HttpRequest, *, form: AcknowledgementForm | None = None, status: int = 200
) -> HttpResponse:
    """All changes, newest first. A `form` has errors. The address can name a row to open."""
    if request.GET.get("needs") == "you":
        request.GET = _without_needs(request.GET)  # type: ignore[assignment]
    actor, filters = actor_of(request), ChangeFilters(request.GET)
    chosen, after = filters.filters(), lists.parse_after(request, lists.parse_positive_number)
    page = changes.get_change_page(actor=actor, filters=chosen, after=after)
    count, awaiting = changes.count_for_list(actor=actor, filters=chosen)
    rows = change_row_views(page.rows, actor=actor)
    orgs, groups = list_known_orgs(actor=actor), list_groups(actor=actor)
    part = ("yes" if chosen.needs_attention else "", chosen.acknowledged)
    opened = form.opened if form else uuid_or_none(request.GET.get("open", ""))
    context = {
        "can_select": any(row.can_acknowledge for row in rows),
        "note_form": form,
        "opened": opened,
        "filters": lists.list_url(request, open="").partition("?")[2],
        "shared_names": lists.shared_names(orgs),
        "parts": _part_links(request, part, awaiting=awaiting),
        "is_part": part != EVERY,
    }
    return LIST.render(
        request,
        context,
        form=filters,
        rows=rows,
        links=lists.cursor_links(request, page.next, open=""),
        count=count,
        choices={
            "site": lists.site_options(site.site for site in all_sites()),
            "org": lists.org_options(orgs),
            "group": [(group, group) for group in groups],
        },
        without=[] if groups or chosen.group else ["group"],
        status=status,
    )


def _without_needs(query: QueryDict) -> QueryDict:
    """The query with this list's own filters in place of `needs=you`, which every list takes."""
    own = query.copy()
    own.pop("needs")
    own.update(changes.AWAITING_QUERY)
    return own


def _part_links(
    request: HttpRequest, current: tuple[str, str], *, awaiting: int
) -> list[lists.ViewLink]:
    """What needs attention, everything, and the current part if an address names another one."""
    parts = {NEEDS_ATTENTION: "Needs attention", EVERY: "All"}
    if current not in parts:
        labels = {"yes": "Acknowledged", "no": "Not acknowledged"}
        parts[current] = labels.get(current[1], "Needed attention")
    return [
        lists.ViewLink(
            label=label,
            url=lists.list_url(request, attention=part[0], acknowledged=part[1], open=""),
            is_current=part == current,
            count=awaiting if part == NEEDS_ATTENTION else None,
        )
        for part, label in parts.items()
    ]


def change_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered changes, streamed as a file."""
    return lists.export(
        request,
        title=LIST.title,
        form=ChangeFilters(request.GET),
        prepare=prepare_export,
        file_name="changes",
    )
