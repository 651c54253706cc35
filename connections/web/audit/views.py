"""The audit log, for auditors: list, one event, export."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render

from connections.audit import search
from connections.audit.search import EventPage
from connections.audit.texts import brief_sentence, event_label
from connections.core.errors import InvalidInputError
from connections.exports import events as exports
from connections.models import AuditEvent
from connections.web.audit.forms import EventForm
from connections.web.framework.lists import (
    Column,
    Filter,
    FilterBar,
    chosen_sort,
    cursor_links,
    export_query,
    filter_bar,
    found_count_text,
    parse_after,
    parse_positive_number,
    sortable,
)
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import (
    SUBJECT_LABELS,
    actor_of,
    download,
    export_format,
    subject_url,
)

_COLUMNS = (
    Column(label="Event", css="cell-event", sort="event"),
    Column(label="Time", css="cell-time"),
    Column(label="What happened", css="cell-main"),
    Column(label="Subject", css="cell-subject cell-medium"),
    Column(label="Code", css="cell-code cell-wide"),
    Column(label="Actor", css="cell-person"),
)

# Form fields whose text the search might refuse, with their names in EventFilter.
_FILTER_OF_FIELD = {"q": "text", "actor": "actor"}


def audit_list(request: HttpRequest) -> HttpResponse:
    """Every audit event, newest first unless sorted the other way around."""
    form = EventForm(request.GET)
    form.full_clean()
    sort = chosen_sort(request, _COLUMNS, default="-event")
    page = _find_events(request, form=form, is_oldest_first=sort == "event")
    bar = _filter_bar(request, form=form)
    context: dict[str, Any] = {
        "form": form,
        "rows": [(event, brief_sentence(event), *_subject_link(event)) for event in page.events],
        "columns": sortable(request, _COLUMNS, sort=sort),
        "count": found_count_text(page.count, most=search.MAX_EXACT_COUNT, noun="event", bar=bar),
        "bar": bar,
        "export_query": export_query(request),
        **cursor_links(request, page.next),
    }
    return render(request, "audit/list.html", context)


def _find_events(request: HttpRequest, *, form: EventForm, is_oldest_first: bool) -> EventPage:
    """The page of events. A filter that the search refuses gets an error and is left out."""
    filters = form.event_filter()
    while True:
        try:
            return search.get_event_page(
                actor=actor_of(request),
                filters=filters,
                after=parse_after(request, parse_positive_number),
                is_oldest_first=is_oldest_first,
            )
        except InvalidInputError as error:
            for name, message in error.fields.items():
                form.add_error(name, message)
                left_out: dict[str, Any] = {_FILTER_OF_FIELD[name]: ""}
                filters = replace(filters, **left_out)


def _filter_bar(request: HttpRequest, *, form: EventForm) -> FilterBar:
    return filter_bar(
        request,
        [
            Filter(name="code", label="Event", options=_CODES),
            Filter(name="actor", label="Actor"),
            Filter(name="since", label="From (UTC)"),
            Filter(name="until", label="To (UTC)"),
        ],
        more=[
            Filter(name="deletion", label="Deletion ID"),
            Filter(name="subject", label="Subject ID"),
            Filter(name="request", label="Request ID"),
        ],
        invalid=list(form.errors),
    )


def _subject_link(event: AuditEvent) -> tuple[str, str]:
    """The address of the event's subject and the link's text. Both are "" if it has no page."""
    url = subject_url(event.subject_type, event.subject_id, site=event.details.get("site", ""))
    return (url, SUBJECT_LABELS[event.subject_type]) if url else ("", "")


_CODES = [(code, event_label(code)) for code in search.code_choices()]


def audit_detail(request: HttpRequest, seq: int) -> HttpResponse:
    """One event and its proof."""
    found = search.get_event(actor=actor_of(request), seq=seq)
    if found is None:
        raise Http404("The audit log has no event with this number.")
    url, label = _subject_link(found.event)
    context = {"found": found, "event": found.event, "subject_url": url, "subject_label": label}
    return render(request, "audit/detail.html", context)


@limited("export", per_minute=30)
def audit_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered events, oldest first, streamed as a file."""
    file_format = export_format(request, default="ndjson")
    form = EventForm(request.GET)
    if not form.is_valid():
        raise BadRequest("A filter in this address can't be used. Set it on the Audit log page.")
    try:
        export = exports.prepare_export(
            actor=actor_of(request),
            filters=form.event_filter(),
            file_format=file_format,
            query=urlencode(form.values()),
        )
    except InvalidInputError as error:
        raise BadRequest(str(error)) from None
    return download(request, export=export, name="audit")
