"""What happened to a connection before its deletion was requested, for those who decide."""

from dataclasses import replace

from django.urls import reverse

from connections.access.actor import Actor
from connections.changes.changes import ChangeFilter, get_change_page
from connections.deletions.earlier import EarlierDecision, find_earlier_decisions
from connections.models import AccessReviewDecision, Deletion
from connections.web.badges import Badge
from connections.web.timeline import TimelineEntry, change_entry


def list_earlier(
    deletion: Deletion, *, kept: AccessReviewDecision | None, actor: Actor
) -> list[TimelineEntry]:
    """Changes, earlier deletions and decisions to keep it, newest first, as far as visible.

    `kept` is a decision that the page already shows.
    """
    key, before = deletion.key, deletion.requested_at
    decisions = find_earlier_decisions(keys=[key], before=before, actor=actor)
    changes = get_change_page(actor=actor, filters=ChangeFilter(connection=key)).rows
    entries = [
        *(_entry(each) for each in decisions if not kept or each.at != kept.decided_at),
        *(replace(change_entry(row), by="") for row in changes if row.change.detected_at < before),
    ]
    return sorted(entries, key=lambda entry: entry.at or before, reverse=True)


def _entry(decision: EarlierDecision) -> TimelineEntry:
    pk = decision.deletion_id
    return TimelineEntry(
        badge=Badge(decision.label, "muted", "dot"),
        at=decision.at,
        by=decision.by,
        detail=f"“{decision.reason}”",
        url=reverse("deletion-detail", args=[pk]) if pk else "",
    )
