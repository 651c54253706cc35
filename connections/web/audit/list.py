"""The audit log, for auditors: list and export."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from connections.access.permissions import AUDIT
from connections.audit import search
from connections.audit.search import EventPage
from connections.audit.texts import brief_sentence, event_label
from connections.core.errors import InvalidInputError
from connections.exports.events import prepare_export
from connections.web.audit.detail import subject_link
from connections.web.audit.forms import EventFilters
from connections.web.framework import lists
from connections.web.framework.http import actor_of

LIST = lists.ListPage(
    title="Audit log",
    noun="event",
    template="audit/list.html",
    sorts=["event"],
    default_sort="-event",
    more=("since", "until", "deletion", "subject", "request"),
    most=search.MAX_EXACT_COUNT,
    export_url="audit-export",
    export_permission=AUDIT,
)
_CODES = [(code, event_label(code)) for code in search.code_choices()]


def audit_list(request: HttpRequest) -> HttpResponse:
    """Every audit event, newest first unless sorted the other way around."""
    form = EventFilters(request.GET)
    page = _find_events(request, form)
    rows = [(event, brief_sentence(event), *subject_link(event)) for event in page.events]
    return LIST.render(
        request,
        form=form,
        rows=rows,
        links=lists.cursor_links(request, page.next),
        count=page.count,
        choices={"code": _CODES},
    )


def _find_events(request: HttpRequest, form: EventFilters) -> EventPage:
    """The page of events. A filter that the search refuses gets an error and is left out."""
    while True:
        try:
            return search.get_event_page(
                actor=actor_of(request),
                filters=form.filters(),
                after=lists.parse_after(request, lists.parse_positive_number),
                is_oldest_first=LIST.sort_of(request) == "event",
            )
        except InvalidInputError as error:
            for name, message in error.fields.items():
                form.add_error(name, message)


def audit_export(request: HttpRequest) -> HttpResponseBase:
    """The filtered events, oldest first, streamed as a file."""
    return lists.export(
        request,
        title=LIST.title,
        form=EventFilters(request.GET),
        prepare=prepare_export,
        file_name="audit",
        default_format="ndjson",
    )
