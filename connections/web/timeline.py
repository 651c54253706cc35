"""The entries of components/timeline.html."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.access_requests.status import access_status_at, people_text, terms_text
from connections.changes.changes import AWAITING_QUERY, ChangeRow
from connections.changes.texts import types_of
from connections.models import COMPLETED, AccessRequest, AuditEvent, Change
from connections.web.badges import Badge, access_request_badge, change_badge
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
    # The attempt that it started, for change_requests/attempt.html.
    attempt: dict[str, Any] | None = None


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


def access_request_entry(access_request: AccessRequest, *, now: datetime) -> TimelineEntry:
    """The entry for an access request: how it ended or, until then, where it is.

    Makes no query if its approvals are prefetched.
    """
    status = access_status_at(access_request, now=now)
    badge = access_request_badge(access_request, status=status)
    if access_request.outcome not in COMPLETED:
        badge = replace(badge, label=f"Access request: {badge.label}")
    said = access_request.settled_reason or access_request.reason
    terms = [terms_text(access_request), access_request.ticket, f"“{said}”"]
    return TimelineEntry(
        badge=badge,
        at=access_request.settled_at or access_request.requested_at,
        by=people_text(access_request),
        detail=" · ".join(filter(None, terms)),
        url=reverse("access-request-detail", args=[access_request.pk]),
    )


# Kinds of changes that mean a connection was listed for the first time.
FIRST_LISTED = {Change.Kind.APPEARED, Change.Kind.RECREATED}


def change_entry(row: ChangeRow) -> TimelineEntry:
    """The entry for a change, with who acknowledged it and why."""
    change = row.change
    badge = change_badge(change, deletion=row.deletion, access_request=row.access_request)
    # The title and its link already name the deletion.
    is_named = change.kind == Change.Kind.REMOVED and row.deletion
    known, url = [replace(row, deletion=None).cause if is_named else row.cause], ""
    if change.kind in FIRST_LISTED:
        known.append(f"Data types: {', '.join(types_of(change.after)) or 'none'}.")
    if change.kind == Change.Kind.RECREATED and row.before:
        url = reverse("org-connection-detail", args=[change.site, row.before["connection_id"]])
    if row.deletion:
        url = reverse("deletion-detail", args=[row.deletion.pk])
    if row.access_request:
        url = reverse("access-request-detail", args=[row.access_request.pk])
    if change.acknowledged_by:
        known.append(f"Acknowledged by {change.acknowledged_by}: “{change.note}”")
    elif change.needs_attention:
        known.append("Not acknowledged.")
        url = url or reverse("change-list", query=AWAITING_QUERY | {"open": str(change.pk)})
    return TimelineEntry(
        badge=badge,
        at=change.detected_at,
        by=", ".join(row.observed_by),
        detail="\n".join(text for text in known if text),
        url=url,
    )
