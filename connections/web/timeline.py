"""The entries of components/timeline.html."""

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.models import AuditEvent
from connections.web.badges import Badge
from connections.web.event_texts import event_text


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """One entry of a timeline."""

    # Its label is the title.
    badge: Badge
    at: datetime | None = None
    by: str = ""
    detail: str = ""
    # The URL that its title links to.
    url: str = ""
    evidence_number: int | None = None
    evidence_url: str = ""
    # It has not happened yet.
    is_next: bool = False


def event_entry(event: AuditEvent, *, actor: Actor, url: str = "") -> TimelineEntry:
    """The entry for an audit event. Links to the event if the actor can open it."""
    text = event_text(event)
    return TimelineEntry(
        badge=text.badge,
        at=event.at,
        by=event.actor_name,
        detail=text.detail,
        url=url,
        evidence_number=event.seq,
        evidence_url=reverse("audit-detail", args=[event.seq])
        if permissions.can_audit(actor)
        else "",
    )
