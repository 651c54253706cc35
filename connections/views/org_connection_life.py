"""The life of one org connection as a timeline: made, first seen, changed, gone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections.models import OrgConnectionSnapshot
from connections.services.sights import ConnectionSeen, Version


@dataclass(frozen=True, kw_only=True)
class LifeEvent:
    """One entry for the timeline component."""

    tone: str
    icon: str
    title: str
    at: datetime | None = None
    by: str = ""
    detail: str = ""


def life_of(seen: ConnectionSeen) -> list[LifeEvent]:
    """Everything known to have happened to it, oldest first."""
    first, *later = seen.versions
    events = [_made(first.snapshot), _first_seen(first), *(_changed(each) for each in later)]
    last_seen_at = max(sight.last_seen_at for sight in seen.sights)
    if seen.is_listed:
        events.append(LifeEvent(tone="ok", icon="check", title="Listed", at=last_seen_at))
    else:
        events.append(
            LifeEvent(
                tone="muted",
                icon="minus",
                title="No longer listed",
                detail="This is when it was listed last.",
                at=last_seen_at,
            )
        )
    return [event for event in events if event is not None]


def _made(snapshot: OrgConnectionSnapshot) -> LifeEvent | None:
    if snapshot.connection_created_at is None:
        return None
    return LifeEvent(
        tone="muted",
        icon="plus",
        title="Created at Datadog",
        at=snapshot.connection_created_at,
        by=snapshot.creator_name,
    )


def _first_seen(version: Version) -> LifeEvent:
    return LifeEvent(
        tone="muted",
        icon="eye",
        title="First seen here",
        at=version.first_seen_at,
        by=version.seen_by,
        detail=f"Sharing {', '.join(version.snapshot.connection_types) or 'nothing'}.",
    )


_FIELD_WORDS = {
    "source_org_id": "Source org id",
    "source_org_name": "Source org",
    "sink_org_id": "Destination org id",
    "sink_org_name": "Destination org",
    "connection_types": "Shares",
    "connection_created_at": "Created",
    "creator_id": "Creator's id",
    "creator_name": "Creator",
    "creator_is_disabled": "Creator disabled",
    "creator_is_service_account": "Creator is a service account",
}


def _changed(version: Version) -> LifeEvent:
    changes = [
        f"{_FIELD_WORDS[name]}: {_value(version.before, name)} → {_value(version.snapshot, name)}"
        for name in version.changed
    ]
    return LifeEvent(
        tone="warn",
        icon="refresh",
        title="Changed",
        at=version.first_seen_at,
        by=version.seen_by,
        detail="; ".join(changes),
    )


def _value(snapshot: OrgConnectionSnapshot | None, name: str) -> str:
    value: Any = getattr(snapshot, name)
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return "not said" if value in {None, ""} else str(value)
