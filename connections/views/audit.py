"""The record of acts, for auditors: a list with filters in the address."""

from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from connections.forms.audit import EventForm
from connections.models import AuditEvent
from connections.services import audit_trail
from connections.views.support import actor_of

_PAGES = {
    "deletion": "deletion-detail",
    "credential": "credential-detail",
    "person": "person-detail",
}


@require_safe
def audit_list(request: HttpRequest) -> HttpResponse:
    """Every act that was recorded, newest first."""
    form = EventForm(request.GET)
    values = form.values()
    if "below" in form.errors:
        raise BadRequest("This is not a place in the record.")
    below: int | None = form.cleaned_data["below"]
    page = audit_trail.event_page(actor=actor_of(request), only=form.event_filter(), below=below)
    context: dict[str, Any] = {
        "rows": [(event, _permalink(event), _subject_url(event)) for event in page.events],
        "values": values,
        "codes": _code_options(values.get("code", "")),
        "clear_url": reverse("audit-list") if values else "",
        "is_first_page": below is None,
        "newest_url": _address(values) if below is not None else "",
        "older_url": _address({**values, "below": str(page.older)}) if page.older else "",
    }
    return render(request, "connections/audit_list.html", context)


def _address(values: dict[str, str]) -> str:
    url = reverse("audit-list")
    return f"{url}?{urlencode(values)}" if values else url


def _permalink(event: AuditEvent) -> str:
    """A page that begins with this event, whatever came later."""
    return f"{_address({'below': str(event.seq + 1)})}#{event.seq}"


def _subject_url(event: AuditEvent) -> str:
    name = _PAGES.get(event.subject_type)
    try:
        return reverse(name, args=[event.subject_id]) if name else ""
    except NoReverseMatch:
        return ""


def _code_options(chosen: str) -> list[tuple[str, str]]:
    options = audit_trail.code_prefixes()
    if chosen and chosen not in options:
        options.append(chosen)
    return [(code, code.rstrip(".").replace("_", " ")) for code in options]
