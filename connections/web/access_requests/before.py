"""What happened between a pair of orgs before access was requested, for those who decide."""

from dataclasses import replace
from datetime import datetime

from django.urls import reverse

from connections.access.actor import Actor
from connections.access.visibility import visible, visible_access_requests
from connections.access_requests.concealing import conceal
from connections.core.data_types import data_text
from connections.models import Deletion, OrgPair, Outcome
from connections.web.badges import outcome_badge
from connections.web.timeline import TimelineEntry, access_request_entry

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
        *(
            access_request_entry(each, now=before)
            for each in conceal(requests.prefetch_related("approvals")[:MOST], actor=actor)
        ),
        *(_of_deletion(each) for each in deletions[:MOST]),
    ]
    return sorted(entries, key=lambda entry: entry.at or before, reverse=True)


def _of_deletion(deletion: Deletion) -> TimelineEntry:
    badge = outcome_badge(deletion.outcome)
    if deletion.outcome != Outcome.DELETED:
        badge = replace(badge, label=f"Deletion: {badge.label}")
    return TimelineEntry(
        badge=badge,
        at=deletion.settled_at,
        by=deletion.requested_by_name,
        detail=f"{data_text(deletion.connection_types)} · “{deletion.reason}”",
        url=reverse("deletion-detail", args=[deletion.pk]),
    )
