"""The list of changes, their acknowledgement and their export."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.changes import changes
from connections.changes.acknowledgement import acknowledge_changes
from connections.changes.changes import ChangeFilter
from connections.changes.export import prepare_export
from connections.core.errors import InvalidInputError
from connections.core.sites import all_sites
from connections.core.text import format_time, pluralize
from connections.inventory.inventory import KnownOrg
from connections.inventory.orgs import list_known_orgs
from connections.inventory.sync_schedule import next_sync_at
from connections.inventory.syncs import credentials_in_use
from connections.web.changes.forms import (
    ACKNOWLEDGED,
    ATTENTION,
    KINDS,
    AcknowledgementForm,
    ChangeFilterForm,
)
from connections.web.changes.rows import (
    CHANGE_COLUMNS,
    change_row_views,
)
from connections.web.framework.lists import (
    SELECT_COLUMN,
    Filter,
    FilterBar,
    as_page_request,
    cursor_links,
    export_query,
    filter_bar,
    found_count_text,
    org_filter,
    parse_after,
    parse_positive_number,
    shared_names,
    site_filter,
)
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import SeeOther, actor_of, download, export_format

LIST = "changes/list.html"


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
    actor = actor_of(request)
    filter_form = ChangeFilterForm(request.GET)
    filters = filter_form.change_filter() if filter_form.is_valid() else ChangeFilter()
    page = changes.get_change_page(
        actor=actor, filters=filters, after=parse_after(request, parse_positive_number)
    )
    rows = change_row_views(
        page.rows,
        actor=actor,
        selected=selected,
        opened=(opened, form) if opened and form else None,
    )
    can_select = any(row.can_acknowledge for row in rows)
    orgs = list_known_orgs(actor=actor)
    bar = _filter_bar(request, form=filter_form, orgs=orgs)
    context: dict[str, Any] = {
        "rows": rows,
        "columns": (SELECT_COLUMN, *CHANGE_COLUMNS) if can_select else CHANGE_COLUMNS,
        "can_select": can_select,
        "form": form,
        "selection_form": form if form and not opened else None,
        "filter_form": filter_form,
        "filters": request.GET.urlencode(),
        "shared_names": shared_names(orgs),
        "count": found_count_text(page.count, most=changes.MAX_COUNTED, noun="change", bar=bar),
        "bar": bar,
        **cursor_links(request, page.next),
        "export_query": export_query(request),
        "can_export": permissions.can_export(actor),
        "next_sync": "" if rows else _next_sync_text(actor),
    }
    is_fragment = request.htmx.target == "changes"  # type: ignore[attr-defined]
    context["is_fragment"] = is_fragment
    return render(request, f"{LIST}#changes" if is_fragment else LIST, context, status=status)


def _filter_bar(request: HttpRequest, *, form: ChangeFilterForm, orgs: list[KnownOrg]) -> FilterBar:
    return filter_bar(
        request,
        [
            Filter(name="attention", label="Attention", options=ATTENTION),
            Filter(name="acknowledged", label="Acknowledgement", options=ACKNOWLEDGED),
            Filter(name="kind", label="Change", options=KINDS),
            site_filter(site.site for site in all_sites()),
            org_filter(orgs),
        ],
        invalid=list(form.errors),
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
            as_page_request(request, path=reverse("change-list"), query=filters),
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


@limited("export", per_minute=30)
def change_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered changes, streamed as a file."""
    file_format = export_format(request)
    form = ChangeFilterForm(request.GET)
    if not form.is_valid():
        raise BadRequest("A filter in this address can't be used. Set it on the Changes page.")
    export = prepare_export(
        actor=actor_of(request),
        filters=form.change_filter(),
        file_format=file_format,
        query=export_query(request),
    )
    return download(request, export=export, name="changes")
