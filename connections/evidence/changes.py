"""Compares changes outside Org Admin, and their acknowledgements, with the events about them.

A sync's event has the IDs of all changes that the sync found, and one digest over their rows. So an
altered row is reported together with the other rows of its event.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import batched
from uuid import UUID

from django.db import connection

from connections.audit import EventCode
from connections.audit.chain import canonical_text
from connections.changes.detection import changes_digest
from connections.core.database import read_in_chunks
from connections.core.tabular import as_time
from connections.core.text import pluralize
from connections.evidence.differing import (
    MAX_DESCRIBED,
    UNREADABLE,
    UNREADABLE_TEXT,
    DifferingRecords,
    format_id,
)
from connections.models import AuditEvent, Change

logger = logging.getLogger(__name__)

# Changes per query.
_BATCH_SIZE = 500
# Events per query. One event can name thousands of changes.
_EVENTS_PER_QUERY = 100
_ALL = "SELECT id FROM connections_change"
_ACKNOWLEDGED = (
    f"{_ALL} WHERE acknowledged_at IS NOT NULL OR acknowledged_by_id IS NOT NULL OR note <> ''"
)


def compare_all_changes(differing: DifferingRecords, *, upto: int) -> Iterator[None]:
    """Compare all changes with the events up to this number, and vice versa.

    Yield after each batch.

    The events are assumed to be intact. Changes and acknowledgements that were stored in the
    meantime are compared with later events, so they cause no false alarm.
    """
    named = acknowledged = 0
    for events in _event_batches(EventCode.CHANGES_DETECTED, upto=upto):
        rows = _load_changes(events)
        for event in events:
            _compare_detected(event, rows, differing)
        named += len(rows)
        yield
    for events in _event_batches(EventCode.CHANGES_ACKNOWLEDGED, upto=upto):
        rows = _load_changes(events)
        for event in events:
            _compare_acknowledged(event, rows, differing)
        acknowledged += sum(1 for row in rows.values() if row and row.acknowledged_at)
        yield
    for query, compared, code, sentence in (
        (_ALL, named, EventCode.CHANGES_DETECTED, "it is stored, but no event records it"),
        (
            _ACKNOWLEDGED,
            acknowledged,
            EventCode.CHANGES_ACKNOWLEDGED,
            "it is acknowledged, but no event records that",
        ),
    ):
        if _count(query) != compared:
            for change_id in _find_unrecorded(query, code=code):
                differing.add(change_id, sentence)
        yield


def _event_batches(code: EventCode, *, upto: int) -> Iterator[list[AuditEvent]]:
    """The events with this code, in batches that name about as many changes as one query reads."""
    batch: list[AuditEvent] = []
    events = AuditEvent.objects.filter(code=code, seq__lte=upto)
    for event in read_in_chunks(events, key="seq", chunk_size=_EVENTS_PER_QUERY):
        batch.append(event)
        if sum(len(_ids_in(event)) for event in batch) >= _BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def _ids_in(event: AuditEvent) -> list[str]:
    ids: list[str] = event.details["changes"]
    return ids


def _load_changes(events: Sequence[AuditEvent]) -> dict[str, Change | None]:
    """The changes that the events name, by ID. None for a change that can't be read."""
    rows: dict[str, Change | None] = {}
    for ids in batched(
        (change_id for event in events for change_id in _ids_in(event)), _BATCH_SIZE
    ):
        rows |= _read(ids)
    return rows


def _read(ids: Sequence[str]) -> dict[str, Change | None]:
    try:
        changes = Change.objects.in_bulk([UUID(change_id) for change_id in ids])
    except UNREADABLE:
        if len(ids) > 1:
            return {key: row for change_id in ids for key, row in _read([change_id]).items()}
        logger.exception("Change %s cannot be compared with its event.", ids[0])
        return {ids[0]: None}
    return {str(pk): row for pk, row in changes.items()}


def _compare_detected(
    event: AuditEvent, rows: dict[str, Change | None], differing: DifferingRecords
) -> None:
    changes = []
    ids = _ids_in(event)
    for change_id in ids:
        row = rows.get(change_id)
        if row:
            changes.append(row)
        elif change_id in rows:
            differing.add(change_id, UNREADABLE_TEXT)
        else:
            differing.add(change_id, f"event {event.seq} records it, but it is missing")
    if len(changes) < len(ids):
        # The digest can't be computed without them.
        return
    try:
        if changes_digest(changes) == event.details["sha256"]:
            return
    except UNREADABLE:
        logger.exception("The changes of event %s cannot be compared with it.", event.seq)
    if len(ids) == 1:
        sentence = f"Change {ids[0]}: it isn't what event {event.seq} recorded."
    else:
        named = ", ".join(ids[:MAX_DESCRIBED])
        more = len(ids) - MAX_DESCRIBED
        named += f" and {more:,} more" if more > 0 else ""
        sentence = (
            f"One of the {pluralize(len(ids), 'change')} that event {event.seq} recorded "
            f"was altered: {named}."
        )
    differing.describe(sentence, ids=ids)


def _compare_acknowledged(
    event: AuditEvent, rows: dict[str, Change | None], differing: DifferingRecords
) -> None:
    recorded = {
        "acknowledged_at": event.details["acknowledged_at"],
        "acknowledged_by": str(event.actor_id),
        "note": event.details["note"],
    }
    for change_id in _ids_in(event):
        row = rows.get(change_id)
        if row is None:
            # Already described with the event that recorded it.
            continue
        try:
            stored = {
                "acknowledged_at": as_time(row.acknowledged_at),
                "acknowledged_by": str(row.acknowledged_by_id),
                "note": row.note,
            }
            is_same = canonical_text(stored) == canonical_text(recorded)
        except UNREADABLE:
            is_same = False
        if not is_same:
            sentence = f"its acknowledgement isn't what event {event.seq} recorded"
            differing.add(change_id, sentence)


def _count(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM ({query}) AS rows_of_query")  # noqa: S608 - our own query
        count: int = cursor.fetchone()[0]
    return count


def _find_unrecorded(query: str, *, code: EventCode) -> list[str]:
    """The IDs from this query that no event with this code contains."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        # As the database returns them, valid or not.
        unrecorded = {format_id(stored) for (stored,) in cursor.fetchall()}
    # Read after the changes, so that it includes the events of changes stored in the meantime.
    events = AuditEvent.objects.filter(code=code)
    for event in read_in_chunks(events, key="seq", chunk_size=_EVENTS_PER_QUERY):
        unrecorded.difference_update(event.details["changes"])
    return sorted(unrecorded)
