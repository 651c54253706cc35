"""One event as a row of an export."""

from connections.core.tabular import AsJson, Row, as_time
from connections.models import AuditEvent

EVENT_COLUMNS = (
    "seq",
    "at",
    "code",
    "actor",
    "actor_kind",
    "actor_id",
    "subject_type",
    "subject_id",
    "request_id",
    "sentence",
    "details",
    "hash",
    "text",
)


def event_row(event: AuditEvent) -> Row:
    """One event with its names read out; `text` is what is stored, and what the hash covers."""
    return {
        "seq": event.seq,
        "at": as_time(event.at),
        "code": event.code,
        "actor": event.actor_name,
        "actor_kind": event.actor_kind,
        "actor_id": str(event.actor_id) if event.actor_id else None,
        "subject_type": event.subject_type or None,
        "subject_id": event.subject_id or None,
        "request_id": event.request_id or None,
        "sentence": event.sentence,
        "details": AsJson(event.details),
        "hash": event.hash,
        "text": event.text,
    }
