"""The audit log, for auditors: list, one event, export."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse

from connections import wording
from connections.audit import search
from connections.audit.search import EventPage
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.tabular import CONTENT_TYPES
from connections.models import AuditEvent
from connections.web.audit.forms import EventForm
from connections.web.charts import Series, build_day_chart
from connections.web.rate_limits import limited
from connections.web.support import actor_of, download

_PAGES = {
    "deletion": "deletion-detail",
    "credential": "credential-detail",
    "person": "person-detail",
    "org_connection": "org-connection-detail",
}

_SERIES = (
    Series(key="deletion", label="Deletions", tone="accent"),
    Series(key="person", label="People", tone="info"),
    Series(key="credential", label="Credentials", tone="ok"),
    Series(key="other", label="Others", tone="muted"),
)
# Form fields whose text the search may refuse, with their names in EventFilter.
_FILTER_OF_FIELD = {"q": "text", "actor": "actor"}


def audit_list(request: HttpRequest) -> HttpResponse:
    """Every audit event, newest first."""
    form = EventForm(request.GET)
    form.full_clean()
    if "below" in form.errors:
        raise BadRequest("This is not a place in the record.")
    below: int | None = form.cleaned_data["below"]
    page = _page(request, form=form, below=below)
    values = form.values()
    context: dict[str, Any] = {
        "form": form,
        "rows": [
            (event, wording.brief_sentence(event), _subject_url(event)) for event in page.events
        ],
        "count": page.count,
        "exact_to": search.MAX_EXACT_COUNT,
        "chart": build_day_chart(page.days, what="Acts", series=_SERIES),
        "values": values,
        "codes": _code_options(values.get("code", "")),
        "clear_url": reverse("audit-list") if values else "",
        "export_query": urlencode(values),
        "is_first_page": below is None,
        "newest_url": _list_url(values) if below is not None else "",
        "older_url": _list_url({**values, "below": str(page.older)}) if page.older else "",
    }
    return render(request, "connections/audit_list.html", context)


def _page(request: HttpRequest, *, form: EventForm, below: int | None) -> EventPage:
    """The page. A filter that the search refuses gets an error and is left out."""
    actor, filters = actor_of(request), form.event_filter()
    while True:
        try:
            return search.get_event_page(actor=actor, filters=filters, below=below)
        except InvalidInputError as error:
            for name, message in error.fields.items():
                form.add_error(name, message)
                left_out: dict[str, Any] = {_FILTER_OF_FIELD[name]: ""}
                filters = replace(filters, **left_out)


def _list_url(values: dict[str, str]) -> str:
    url = reverse("audit-list")
    return f"{url}?{urlencode(values)}" if values else url


def _subject_url(event: AuditEvent) -> str:
    name = _PAGES.get(event.subject_type)
    site = [event.details.get("site", "")] if event.subject_type == "org_connection" else []
    try:
        return reverse(name, args=[*site, event.subject_id]) if name else ""
    except NoReverseMatch:
        return ""


def _code_options(chosen: str) -> list[tuple[str, str]]:
    options = search.code_choices()
    if chosen and chosen not in options:
        options.append(chosen)
    return [(code, _code_label(code)) for code in options]


def _code_label(code: str) -> str:
    noun, _, act = code.partition(".")
    return f"{noun}: {act or 'all'}".replace("_", " ")


def audit_detail(request: HttpRequest, seq: int) -> HttpResponse:
    """One event and its proof."""
    found = search.get_event(actor=actor_of(request), seq=seq)
    if found is None:
        raise Http404("The record has no event of this number.")
    event = found.event
    context = {
        "found": found,
        "event": event,
        "subject_url": _subject_url(event),
        "request_url": _list_url({"request": event.request_id}) if event.request_id else "",
        "of_subject_url": _list_url({"subject": event.subject_id}) if event.subject_id else "",
        "of_actor_url": _list_url({"actor": str(event.actor_id)}) if event.actor_id else "",
    }
    return render(request, "connections/audit_detail.html", context)


@limited("export", per_minute=30)
def audit_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered events, oldest first, streamed as a file."""
    file_format = request.GET.get("format", "ndjson")
    form = EventForm(request.GET)
    if file_format not in CONTENT_TYPES:
        raise BadRequest("The format of an export is ndjson, csv or json.")
    if not form.is_valid():
        raise BadRequest("A filter in this address cannot be read. Set it on the audit page.")
    try:
        export = search.prepare_export(
            actor=actor_of(request),
            filters=form.event_filter(),
            file_format=file_format,
            query=urlencode(form.values()),
        )
    except InvalidInputError as error:
        raise BadRequest(str(error)) from None
    return download(request, export=export, name=f"audit-{clock.now():%Y%m%dT%H%M%SZ}")
