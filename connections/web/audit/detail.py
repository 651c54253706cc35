"""The page of one audit event."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from connections.audit import search
from connections.models import AuditEvent
from connections.web.framework.addresses import SUBJECT_LABELS, subject_url
from connections.web.framework.http import actor_of


def subject_link(event: AuditEvent) -> tuple[str, str]:
    """The address of the event's subject and the link's text. Both are "" if it has no page."""
    url = subject_url(event.subject_type, event.subject_id, site=event.details.get("site", ""))
    return (url, SUBJECT_LABELS[event.subject_type]) if url else ("", "")


def audit_detail(request: HttpRequest, seq: int) -> HttpResponse:
    """One event and its proof."""
    detail = search.get_event(actor=actor_of(request), seq=seq)
    if detail is None:
        raise Http404("The audit log has no event with this number.")
    url, label = subject_link(detail.event)
    context = {"detail": detail, "event": detail.event, "subject_url": url, "subject_label": label}
    return render(request, "audit/detail.html", context)
