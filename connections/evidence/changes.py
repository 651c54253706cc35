"""Compares changes outside Org Admin, and their acknowledgements, with the events about them.

A sync's event has the IDs of all changes that the sync found, and one digest over their rows. So an
altered row is reported together with the other rows of its event.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import batched
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

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

# One event can name thousands of changes.
_EVENTS_PER_QUERY = 20
_ROWS = """
    SELECT id, acknowledged_at IS NOT NULL OR acknowledged_by_id IS NOT NULL OR note <> ''
    FROM connections_change
"""


def compare_all_changes(differing: DifferingRecords, *, upto: int) -> Iterator[None]:
    """Compare all changes with the events up to this number, and vice versa.

    Yield after each batch.

    The events are assumed to be intact. Changes and acknowledgements that were stored in the
    meantime are looked for in later events, so they cause no false alarm.
    """
    detected, acknowledged = set[str](), set[str]()
    kinds = (
        (EventCode.CHANGES_DETECTED, _compare_detected, detected),
        (EventCode.CHANGES_ACKNOWLEDGED, _compare_acknowledged, acknowledged),
    )
    for code, compare, named in kinds:
        for events in _batches(AuditEvent.objects.filter(code=code, seq__lte=upto)):
            ids = [change_id for event in events for change_id in _ids_in(event)]
            rows = _read(ids)
            for event in events:
                compare(event, rows, differing)
            named.update(ids)
            yield
    with connection.cursor() as cursor:
        cursor.execute(_ROWS)
        # IDs as the database returns them, valid or not.
        stored = [(format_id(pk), is_acknowledged) for pk, is_acknowledged in cursor]
    # Read after the changes, so that they include those of changes stored in the meantime.
    for code, _, named in kinds:
        for events in _batches(AuditEvent.objects.filter(code=code, seq__gt=upto)):
            named.update(change_id for event in events for change_id in _ids_in(event))
    for change_id, is_acknowledged in stored:
        if change_id not in detected:
            differing.add(change_id, "it is stored, but no event records it")
        if is_acknowledged and change_id not in acknowledged:
            differing.add(change_id, "it is acknowledged, but no event records that")
    yield


def _batches(events: QuerySet[AuditEvent]) -> Iterator[tuple[AuditEvent, ...]]:
    chunks = read_in_chunks(events, key="seq", chunk_size=_EVENTS_PER_QUERY)
    return batched(chunks, _EVENTS_PER_QUERY)


def _ids_in(event: AuditEvent) -> list[str]:
    ids: list[str] = event.details["changes"]
    return ids


def _read(ids: Sequence[str]) -> dict[str, Change | None]:
    """These changes by ID. None for a change that can't be read."""
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
