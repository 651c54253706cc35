"""What happened between a pair of orgs before access was requested, for those who decide."""

from dataclasses import replace
from datetime import datetime

from django.urls import reverse

from connections.access.actor import Actor
from connections.access.visibility import visible, visible_access_requests
from connections.access_requests.status import access_status_at, data_text
from connections.models import AccessRequest, Deletion, OrgPair
from connections.web.badges import access_request_badge, outcome_badge
from connections.web.timeline import TimelineEntry

MOST = 20


def list_before(pair: OrgPair, *, before: datetime, actor: Actor) -> list[TimelineEntry]:
    """Earlier access requests and deletions of the pair, newest first, as far as visible."""
    of_pair = pair._asdict()
    requests = visible_access_requests(actor=actor).filter(
        **of_pair, requested_at__lt=before, settled_at__isnull=False
    )
    deletions = visible(Deletion.objects.all(), actor=actor).filter(
        **of_pair, requested_at__lt=before, settled_at__isnull=False
    )
    entries = [
        *(_of_request(each, now=before) for each in requests[:MOST]),
        *(_of_deletion(each) for each in deletions[:MOST]),
    ]
    return sorted(entries, key=lambda entry: entry.at or before, reverse=True)


def _of_request(access_request: AccessRequest, *, now: datetime) -> TimelineEntry:
    status = access_status_at(access_request, now=now)
    badge = access_request_badge(access_request, status=status)
    said = access_request.settled_reason or access_request.reason
    return TimelineEntry(
        badge=replace(badge, label=f"Access request: {badge.label}"),
        at=access_request.settled_at,
        by=access_request.settled_by_name or access_request.requested_by_name,
        detail=f"{data_text(access_request.types_after)} · “{said}”",
        url=reverse("access-request-detail", args=[access_request.pk]),
    )


def _of_deletion(deletion: Deletion) -> TimelineEntry:
    badge = outcome_badge(deletion.outcome)
    return TimelineEntry(
        badge=replace(badge, label=f"Deletion: {badge.label}"),
        at=deletion.settled_at,
        by=deletion.requested_by_name,
        detail=f"{data_text(deletion.connection_types)} · “{deletion.reason}”",
        url=reverse("deletion-detail", args=[deletion.pk]),
    )
