"""The timeline of one org connection."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse

from connections.access.actor import Actor
from connections.access_reviews.progress import ConnectionDecision
from connections.access_reviews.texts import decision_text
from connections.changes.changes import ChangeRow
from connections.core.data_types import in_order
from connections.core.text import format_time
from connections.inventory.timeline import (
    ConnectionHistory,
    ConnectionVersion,
    Reappearance,
    SimilarConnection,
    is_observation,
)
from connections.models import (
    COMPLETED,
    AccessOutcome,
    AccessRequest,
    AuditEvent,
    Change,
    OrgConnectionSnapshot,
)
from connections.web.badges import ROW_BADGES, Badge
from connections.web.timeline import (
    FIRST_LISTED,
    TimelineEntry,
    access_request_entry,
    change_entry,
    event_entry,
)

# A longer timeline shows its first and last entries, and folds the entries between them.
SHOWN_FIRST = 5
SHOWN_LAST = 25
# Kinds of changes that a new version of the snapshot shows too.
_COMPARED = {Change.Kind.TYPES_CHANGED, Change.Kind.CREATOR_CHANGED}


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The entries, oldest first. `between` is folded."""

    first: list[TimelineEntry]
    between: list[TimelineEntry]
    last: list[TimelineEntry]


def timeline_of(
    history: ConnectionHistory,
    *,
    changes: Sequence[ChangeRow],
    decisions: Sequence[ConnectionDecision],
    requests: Sequence[AccessRequest],
    actor: Actor,
    now: datetime,
) -> Timeline:
    """The timeline of a connection.

    `changes` are the ones that syncs detected for it, `decisions` those of access reviews, and
    `requests` its access requests.
    """
    # The entry of an access request says more than what Datadog listed because of it.
    done = {each.pk: each for each in requests if each.outcome in COMPLETED}
    others = [
        row
        for row in changes
        if not row.access_request or row.access_request.pk not in done or row.change.needs_attention
    ]
    is_created_here = any(each.outcome == AccessOutcome.CREATED for each in done.values())
    compared = {row.change.detected_at for row in changes if row.change.kind in _COMPARED}
    began = [row.change.detected_at for row in changes if row.change.kind in FIRST_LISTED]
    entries = [
        *(() if is_created_here else _first_entries(history, began=began)),
        *(
            _changed_entry(version)
            for version in history.versions[1:]
            # The entry of the change that the same sync detected already shows it.
            if version.snapshot.first_seen_at not in compared
        ),
        *map(change_entry, reversed(others)),
        *map(_decision_entry, decisions),
        *(access_request_entry(each, now=now) for each in requests),
        *(_reappearance_entry(reappearance) for reappearance in history.reappearances),
        # Before an event at the same time, which implies it.
        *_last_listed_entries(history, changes=changes),
        *(_event_entry(event, actor=actor) for event in history.events),
        *([_successor_entry(history.successor, history=history)] if history.successor else []),
    ]
    # Audit events with the same time keep their order. Entries without a time come first.
    events = sorted(entries, key=lambda entry: entry.at.timestamp() if entry.at else 0.0)
    if history.is_listed:
        at = _last_seen_at(history)
        events.append(TimelineEntry(badge=Badge("Listed", "ok", "check"), at=at))
    if len(events) <= SHOWN_FIRST + SHOWN_LAST:
        return Timeline(first=events, between=[], last=[])
    return Timeline(
        first=events[:SHOWN_FIRST],
        between=events[SHOWN_FIRST:-SHOWN_LAST],
        last=events[-SHOWN_LAST:],
    )


def _first_entries(
    history: ConnectionHistory, *, began: Collection[datetime]
) -> list[TimelineEntry]:
    """When it was created and first listed, unless a change detected at that time says it."""
    if not history.versions:
        return []
    created = _created_entry(history.versions[0].snapshot)
    entries = [created] if created else []
    if history.versions[0].snapshot.first_seen_at not in began:
        entries.append(_first_seen_entry(history))
    return entries


def _decision_entry(item: ConnectionDecision) -> TimelineEntry:
    decision, review = item.decision, item.decision.row.review
    badge = ROW_BADGES[decision.decision]
    label = decision_text(decision.decision, keep_until=decision.keep_until)
    return TimelineEntry(
        badge=replace(badge, label=f"{label}: access review {review.name}"),
        at=decision.decided_at,
        by=decision.decided_by_name,
        detail=f"“{decision.reason}”",
        url=reverse("access-review-detail", args=[review.pk]) if item.is_review_visible else "",
    )


def _last_seen_at(history: ConnectionHistory) -> datetime:
    return max(observation.last_seen_at for observation in history.observations)


def _last_listed_entries(
    history: ConnectionHistory, *, changes: Sequence[ChangeRow]
) -> list[TimelineEntry]:
    """When it was last listed, unless it still is or a change says that it was removed."""
    is_removed = any(row.change.kind == Change.Kind.REMOVED for row in changes)
    if history.is_listed or is_removed or not history.observations:
        return []
    last_seen_at = _last_seen_at(history)
    observed = (event.at for event in history.events if is_observation(event))
    at = max(last_seen_at, *observed)
    return [TimelineEntry(badge=Badge("Last listed", "muted", "minus"), at=at)]


def _created_entry(snapshot: OrgConnectionSnapshot) -> TimelineEntry | None:
    if snapshot.connection_created_at is None:
        return None
    return TimelineEntry(
        badge=Badge("Created in Datadog", "muted", "plus"),
        at=snapshot.connection_created_at,
        by=snapshot.creator_name,
    )


def _first_seen_entry(history: ConnectionHistory) -> TimelineEntry:
    snapshot = history.versions[0].snapshot
    return TimelineEntry(
        badge=Badge("First seen by Org Admin", "muted", "eye"),
        at=snapshot.first_seen_at,
        by=snapshot.credential.name,
        detail=f"Data types: {', '.join(in_order(snapshot.connection_types)) or 'none'}.",
    )


def _connection_url(site: str, connection_id: UUID) -> str:
    """The page of another connection."""
    return reverse("org-connection-detail", args=[site, connection_id])


def _successor_entry(other: SimilarConnection, *, history: ConnectionHistory) -> TimelineEntry:
    return TimelineEntry(
        badge=Badge("Recreated as another connection", "warn", "plus"),
        detail="The same two orgs have a connection with another ID.",
        at=other.began_at,
        url=_connection_url(history.snapshot.site, other.connection_id),
    )


def _reappearance_entry(reappearance: Reappearance) -> TimelineEntry:
    return TimelineEntry(
        badge=Badge("Listed again with the same ID", "danger", "refresh"),
        detail=f"It had last been listed at {format_time(reappearance.last_seen_at)}.",
        at=reappearance.at,
        by=reappearance.listed_by,
    )


def _event_entry(event: AuditEvent, *, actor: Actor) -> TimelineEntry:
    is_about_deletion = event.subject_type == "deletion"
    url = reverse("deletion-detail", args=[event.subject_id]) if is_about_deletion else ""
    return event_entry(event, actor=actor, url=url)


_FIELD_LABELS = {
    "source_org_id": "Source org ID",
    "source_org_name": "Source org",
    "sink_org_id": "Destination org ID",
    "sink_org_name": "Destination org",
    "connection_types": "Data types",
    "connection_created_at": "Created",
    "creator_id": "Creator ID",
    "creator_name": "Creator",
    "creator_is_disabled": "Creator disabled",
    "creator_is_service_account": "Creator is a service account",
}


def _changed_entry(version: ConnectionVersion) -> TimelineEntry:
    changes = [
        f"{_FIELD_LABELS[name]}: {_value_text(version.before, name)} → "
        f"{_value_text(version.snapshot, name)}"
        for name in version.changed
    ]
    return TimelineEntry(
        badge=Badge("Changed", "warn", "refresh"),
        at=version.snapshot.first_seen_at,
        by=version.snapshot.credential.name,
        detail="; ".join(changes),
    )


def _value_text(snapshot: OrgConnectionSnapshot | None, name: str) -> str:
    value: Any = getattr(snapshot, name)
    if isinstance(value, list):
        return ", ".join(in_order(value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return "unknown" if value in {None, ""} else str(value)
