"""Taking the record to another place bit by bit: each time what is new since the last."""

from collections.abc import Iterator
from itertools import islice

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.event_rows import EVENT_COLUMNS, event_row
from connections.audit.exporting import Export
from connections.core.errors import InvalidInputError
from connections.models import AuditEvent, AuditHead, with_values

WHAT = "audit_shipment"
BATCH = 500
_EXPORT_CODES = frozenset({"export.started", "export.finished", "export.aborted"})


def prepare_shipment(
    *, actor: Actor, since: int, limit: int | None, file_format: str
) -> Export | None:
    """The events after number `since`, oldest first and at most `limit`; None without news.

    The events of shipments are no news by themselves, whoever made them: else two shippers
    would keep each other awake for ever. They go along with the next event that is.

    Raises PermissionDenied, and InvalidInputError for a number that the record has not reached:
    then it is another record, or an older one that was restored.
    """
    permissions.require(permissions.can_audit(actor), "export the record of acts")
    size = AuditHead.objects.get().size
    if since < 0 or (limit is not None and limit < 1):
        raise InvalidInputError({"since": "--since is 0 or more, and --limit 1 or more."})
    if since > size:
        message = (
            f"The record ends at event {size}, before {since}: this is another record, "
            "or an older one that was restored."
        )
        raise InvalidInputError({"since": message})
    if not any(_is_news(event) for event in _events(since=since, upto=size)):
        return None
    return Export(
        actor=actor,
        what=WHAT,
        words="new events",
        file_format=file_format,
        asked_for=f"since={since}" + (f"&limit={limit}" if limit is not None else ""),
        # Up to what there was before this shipment's own first event.
        rows=lambda: map(event_row, islice(_events(since=since, upto=size), limit)),
        columns=EVENT_COLUMNS,
    )


def _is_news(event: AuditEvent) -> bool:
    if event.code not in _EXPORT_CODES:
        return True
    return bool(event.details.get("what") != WHAT)


def _events(*, since: int, upto: int) -> Iterator[AuditEvent]:
    """Read in batches, so that no statement stays open while somebody else reads slowly."""
    while since < upto:
        rows = AuditEvent.objects.filter(seq__gt=since, seq__lte=upto).order_by("seq")
        batch = with_values(rows[:BATCH])
        if not batch:
            return
        yield from batch
        since = batch[-1].seq
