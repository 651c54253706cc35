"""The history of deletions: list, filters and export."""

from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock, tabular
from connections.core.sites import all_sites
from connections.deletions import history
from connections.deletions.export import prepare_export
from connections.deletions.history import Cursor, HistoryFilter
from connections.deletions.history_filter import BREAK_GLASS, CONTRADICTED, PERIODS, HistoryForm
from connections.models import OPEN_STATES, Outcome
from connections.web.charts import OUTCOME_SERIES, build_day_chart
from connections.web.rate_limits import limited
from connections.web.support import actor_of, download
from connections.wording import label_of_outcome, label_of_state


def deletion_list(request: HttpRequest) -> HttpResponse:
    """All deletions, newest first."""
    actor = actor_of(request)
    form = HistoryForm(request.GET, credentials=history.list_selectable_credentials(actor=actor))
    filters = form.history_filter(now=clock.now()) if form.is_valid() else None
    page = history.history_page(
        actor=actor, filters=filters or HistoryFilter(), after=_parse_cursor(request)
    )
    is_filtered = any(value for name, value in request.GET.items() if name != "after")
    context: dict[str, Any] = {
        "form": form,
        "deletions": page.deletions,
        "count": page.count,
        "exact_to": history.MAX_COUNTED,
        "is_filtered": is_filtered,
        "clear_url": reverse("deletion-list") if is_filtered else "",
        "is_first_page": "after" not in request.GET,
        "older_url": _list_url(request, after=str(page.older)) if page.older else "",
        "newest_url": _list_url(request) if "after" in request.GET else "",
        "chart": build_day_chart(page.days, what="Deletions", series=OUTCOME_SERIES),
        "export_query": _query(request),
        "can_export": permissions.can_export(actor),
        "can_audit": permissions.can_audit(actor),
        "can_delete": permissions.can_delete(actor),
        **_choices(actor),
    }
    return render(request, "connections/deletion_list.html", context)


def _choices(actor: Actor) -> dict[str, list[tuple[str, str]]]:
    statuses = [
        *((state.value, label_of_state(state)) for state in OPEN_STATES),
        *((outcome.value, label_of_outcome(outcome)) for outcome in Outcome),
        (CONTRADICTED, "Still listed or reappeared"),
        (BREAK_GLASS, "Break glass"),
    ]
    return {
        "periods": list(PERIODS.items()),
        "statuses": statuses,
        "people": [(str(p.pk), p.display_name) for p in history.list_requesters()],
        "credentials": [
            (str(c.pk), c.name) for c in history.list_selectable_credentials(actor=actor)
        ],
        "sites": [(site.site, site.label) for site in all_sites()],
    }


def _parse_cursor(request: HttpRequest) -> Cursor | None:
    text = request.GET.get("after", "")
    try:
        return Cursor.parse(text) if text else None
    except ValueError:
        raise BadRequest("This address names no place in the history.") from None


def _query(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("after", None)
    return query.urlencode()


def _list_url(request: HttpRequest, *, after: str = "") -> str:
    query = request.GET.copy()
    query.pop("after", None)
    if after:
        query["after"] = after
    text = query.urlencode()
    return f"{reverse('deletion-list')}?{text}" if text else reverse("deletion-list")


@limited("export", per_minute=30)
def deletion_export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered deletions, streamed as a file."""
    actor = actor_of(request)
    file_format = request.GET.get("format", "csv")
    form = HistoryForm(request.GET, credentials=history.list_selectable_credentials(actor=actor))
    if file_format not in tabular.CONTENT_TYPES:
        raise BadRequest("The format of an export is csv, json or ndjson.")
    if not form.is_valid():
        raise BadRequest("A filter in this address cannot be read. Set it on the history's page.")
    now = clock.now()
    export = prepare_export(
        actor=actor,
        filters=form.history_filter(now=now),
        file_format=file_format,
        query=_query(request),
    )
    return download(request, export=export, name=f"deletions-{now:%Y%m%dT%H%M%SZ}")
