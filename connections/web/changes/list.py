"""The list of changes, their acknowledgement and their export."""

from collections.abc import Collection
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse

from connections.access.actor import Actor
from connections.changes import changes
from connections.changes.acknowledgement import acknowledge_changes
from connections.changes.export import prepare_export
from connections.core.errors import InvalidInputError
from connections.core.sites import all_sites
from connections.core.text import format_time, pluralize
from connections.inventory.orgs import list_known_orgs
from connections.inventory.sync_schedule import next_sync_at
from connections.inventory.syncs import credentials_in_use
from connections.web.changes.forms import AcknowledgementForm, ChangeFilters
from connections.web.changes.rows import change_row_views
from connections.web.framework import lists
from connections.web.framework.support import SeeOther, actor_of

LIST = lists.ListPage(
    title="Changes",
    noun="change",
    template="changes/list.html",
    most=changes.MAX_COUNTED,
    export_url="change-export",
)


def change_list(
    request: HttpRequest,
    *,
    form: AcknowledgementForm | None = None,
    selected: Collection[UUID] = (),
    opened: UUID | None = None,
    status: int = 200,
) -> HttpResponse:
    """All changes, newest first.

    A `form` with errors belongs to the row `opened` or to the `selected` rows.
    """
    actor, filters = actor_of(request), ChangeFilters(request.GET)
    page = changes.get_change_page(
        actor=actor,
        filters=filters.filters(),
        after=lists.parse_after(request, lists.parse_positive_number),
    )
    rows = change_row_views(
        page.rows,
        actor=actor,
        selected=selected,
        opened=(opened, form) if opened and form else None,
    )
    orgs = list_known_orgs(actor=actor)
    context = {
        "can_select": any(row.can_acknowledge for row in rows),
        "selection_form": form if form and not opened else None,
        "filters": request.GET.urlencode(),
        "shared_names": lists.shared_names(orgs),
        "next_sync": "" if rows else _next_sync_text(actor),
    }
    return LIST.render(
        request,
        context,
        form=filters,
        rows=rows,
        links=lists.cursor_links(request, page.next),
        count=page.count,
        choices={
            "site": lists.site_options(site.site for site in all_sites()),
            "org": lists.org_options(orgs),
        },
        status=status,
    )


def _next_sync_text(actor: Actor) -> str:
    """What will appear here, and when the next sync can show it."""
    text = "Org Admin compares each sync with the previous one and lists the differences here."
    due_at = next_sync_at(credentials_in_use(actor=actor))
    if due_at is None:
        return f"{text} The first sync of a credential is its baseline."
    return f"{text} The next one is due at {format_time(due_at)}, if a worker is running."


def change_acknowledge(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Acknowledge one change with a note."""
    return _acknowledge(request, change_ids=[pk], opened=pk)


def change_acknowledge_many(request: HttpRequest) -> HttpResponse:
    """Acknowledge the selected changes with one note: either all of them or none."""
    try:
        change_ids = [UUID(text) for text in request.POST.getlist("change")]
    except ValueError:
        raise BadRequest("The selection contains an invalid change ID.") from None
    return _acknowledge(request, change_ids=change_ids)


def _acknowledge(
    request: HttpRequest, *, change_ids: list[UUID], opened: UUID | None = None
) -> HttpResponse:
    form = AcknowledgementForm(request.POST)
    filters = QueryDict(request.POST.get("filters", ""))
    try:
        form.require_valid()
        count = acknowledge_changes(
            actor=actor_of(request), change_ids=change_ids, note=form.cleaned_data["note"]
        )
    except InvalidInputError as error:
        form.add_errors(error)
        return change_list(
            lists.as_page_request(request, path=reverse("change-list"), query=filters),
            form=form,
            selected=change_ids,
            opened=opened,
            status=422,
        )
    if count:
        messages.success(request, f"{pluralize(count, 'change')} acknowledged.")
    else:
        messages.info(request, "Already acknowledged. The first acknowledgement stands.")
    if request.POST.get("back") == "overview":
        return SeeOther(reverse("overview"))
    return SeeOther(reverse("change-list", query=filters))


def change_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered changes, streamed as a file."""
    return lists.export(
        request,
        title=LIST.title,
        form=ChangeFilters(request.GET),
        prepare=prepare_export,
        file_name="changes",
    )
