"""Exports of the audit log: the events that match a filter, and new events for another program."""

from collections.abc import Iterator
from itertools import islice

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import search
from connections.core.errors import InvalidInputError
from connections.core.tabular import AsJson, Columns, as_time
from connections.exports.export import Export
from connections.models import AuditEvent, AuditHead, EventCode, with_values

# With names. `text` is the stored text, which the hash covers.
EVENT_EXPORT_COLUMNS = Columns[AuditEvent](
    {
        "seq": lambda event: event.seq,
        "at": lambda event: as_time(event.at),
        "code": lambda event: event.code,
        "actor": lambda event: event.actor_name,
        "actor_kind": lambda event: event.actor_kind,
        "actor_id": lambda event: str(event.actor_id) if event.actor_id else None,
        "subject_type": lambda event: event.subject_type or None,
        "subject_id": lambda event: event.subject_id or None,
        "request_id": lambda event: event.request_id or None,
        "sentence": lambda event: event.sentence,
        "details": lambda event: AsJson(event.details),
        "hash": lambda event: event.hash,
        "text": lambda event: event.text,
    }
)


def prepare_export(
    *, actor: Actor, filters: search.EventFilter, file_format: str, query: str
) -> Export[AuditEvent]:
    """An export of all matching events, oldest first.

    Leaves out events recorded after the first row is read. `query` is the filter as its query
    string. Raises PermissionDenied, and InvalidInputError as `search.get_event_page` does.
    """
    permissions.require(permissions.can_audit(actor), "export the audit log")
    search.find_sequence_numbers(filters=filters, limit=1)
    return Export(
        actor=actor,
        what="audit_events",
        description="the audit log",
        file_format=file_format,
        query=query,
        items=lambda: search.iterate_events(filters),
        columns=EVENT_EXPORT_COLUMNS,
    )


SHIPMENT = "audit_shipment"
SHIPMENT_BATCH_SIZE = 500
_EXPORT_CODES = {EventCode.EXPORT_STARTED, EventCode.EXPORT_FINISHED, EventCode.EXPORT_ABORTED}


def prepare_shipment(
    *, actor: Actor, since: int, limit: int | None, file_format: str
) -> Export[AuditEvent] | None:
    """The events after number `since`, oldest first, at most `limit`. None if nothing is new.

    Shipments' own events don't count as new; otherwise two programs that ship events would trigger
    each other forever. They are included along with the next other event.

    Raises PermissionDenied, and InvalidInputError for a number after the last event: the database
    is then a different one, or was restored from an older backup.
    """
    permissions.require(permissions.can_audit(actor), "export the audit log")
    size = AuditHead.objects.get().size
    if since < 0 or (limit is not None and limit < 1):
        raise InvalidInputError({"since": "--since must be 0 or more, and --limit 1 or more."})
    if since > size:
        message = (
            f"The audit log ends at event {size}, before {since}: this is a different log, "
            "or an older one that was restored."
        )
        raise InvalidInputError({"since": message})
    if not any(_is_new_to_receiver(event) for event in _events(since=since, upto=size)):
        return None
    return Export(
        actor=actor,
        what=SHIPMENT,
        description="new events",
        file_format=file_format,
        query=f"since={since}" + (f"&limit={limit}" if limit is not None else ""),
        # Leaves out the events of this shipment itself.
        items=lambda: islice(_events(since=since, upto=size), limit),
        columns=EVENT_EXPORT_COLUMNS,
    )


def _is_new_to_receiver(event: AuditEvent) -> bool:
    return event.code not in _EXPORT_CODES or event.details.get("what") != SHIPMENT


def _events(*, since: int, upto: int) -> Iterator[AuditEvent]:
    """Read events in batches, so that no query stays open while a slow client reads."""
    while since < upto:
        rows = AuditEvent.objects.filter(seq__gt=since, seq__lte=upto).order_by("seq")
        batch = with_values(rows[:SHIPMENT_BATCH_SIZE])
        if not batch:
            return
        yield from batch
        since = batch[-1].seq
