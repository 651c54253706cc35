"""Reading the record of acts: pages, one event with all that vouches for it, and taking it away."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Count

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.chain import NO_HASH
from connections.audit.event_rows import EVENT_COLUMNS, event_row
from connections.audit.events import EventCode
from connections.audit.exporting import Export
from connections.audit.search import EventFilter, matching_sequence_numbers
from connections.core.days import DailyCounts, UtcDay, by_day
from connections.models import AuditEvent, AuditHead, Checkpoint, with_values

PAGE_SIZE = 100
EXACT_TO = 1000
DRAWN = 5000
# What most acts are about; the others are counted together.
DRAWN_NOUNS = frozenset({"deletion", "person", "credential"})
EXPORT_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """One page, newest first; `older` is the number that the next one starts below."""

    events: list[AuditEvent]
    older: int | None
    # How many pass the filter: exact up to 1,000, and None when there are more.
    count: int | None
    # Of the newest 5,000 that pass.
    days: DailyCounts


def event_page(
    *, actor: Actor, only: EventFilter, below: int | None = None, size: int = PAGE_SIZE
) -> EventPage:
    """The events that pass the filter, newest first, with numbers below `below`.

    Raises PermissionDenied, and InvalidInputError for what cannot be looked for.
    """
    permissions.require(permissions.can_audit(actor), "read the record of acts")
    newest = matching_sequence_numbers(only=only, limit=DRAWN + 1)
    numbers = newest[: size + 1]
    if below is not None:
        numbers = matching_sequence_numbers(only=only, limit=size + 1, below=below)
    return EventPage(
        events=_events(numbers[:size], order="-seq"),
        older=numbers[size - 1] if len(numbers) > size else None,
        count=len(newest) if len(newest) <= EXACT_TO else None,
        days=_days(newest),
    )


def _days(numbers: list[int]) -> DailyCounts:
    """What these events were about, by day: one of DRAWN_NOUNS or "other"."""
    rows = AuditEvent.objects.filter(pk__in=numbers).order_by().annotate(day=UtcDay("at"))
    counted = rows.values_list("day", "code").annotate(count=Count("*"))
    return by_day(((day, _noun(code), count) for day, code, count in counted), limit=DRAWN + 1)


def _noun(code: str) -> str:
    noun = code.partition(".")[0]
    return noun if noun in DRAWN_NOUNS else "other"


def _events(numbers: list[int], *, order: str) -> list[AuditEvent]:
    return with_values(AuditEvent.objects.filter(pk__in=numbers).order_by(order))


@dataclass(frozen=True, kw_only=True)
class EventRead:
    """One event, and what it can be checked by."""

    event: AuditEvent
    # 64 hex digits each: the hash that this event's own hash goes on from.
    previous_hash: str
    # The first checkpoint that vouches for it; None while there is none yet.
    checkpoint: Checkpoint | None
    is_newest: bool


def read_event(*, actor: Actor, seq: int) -> EventRead | None:
    """One event by its number; None when there is none. Raises PermissionDenied."""
    permissions.require(permissions.can_audit(actor), "read the record of acts")
    head = AuditHead.objects.get()
    if not 1 <= seq <= head.size:
        return None
    found = {each.seq: each for each in AuditEvent.objects.filter(seq__in=[seq - 1, seq])}
    if seq not in found:
        # Something removed it: `verify_audit` says so, and this page has nothing to show.
        return None
    with_values([found[seq]])
    before = found.get(seq - 1)
    return EventRead(
        event=found[seq],
        previous_hash=before.hash if before else NO_HASH.hex(),
        checkpoint=Checkpoint.objects.filter(size__gte=seq).order_by("size", "id").first(),
        is_newest=head.size == seq,
    )


def prepare_export(*, actor: Actor, only: EventFilter, file_format: str, asked_for: str) -> Export:
    """Every event that passes the filter, oldest first, to be exported.

    It ends with the newest event there is when the first row is read. `asked_for` is the filter
    in the asker's own words. Raises PermissionDenied, and InvalidInputError as `event_page`.
    """
    permissions.require(permissions.can_audit(actor), "export the record of acts")
    matching_sequence_numbers(only=only, limit=1)
    return Export(
        actor=actor,
        what="audit_events",
        words="the record of acts",
        file_format=file_format,
        asked_for=asked_for,
        rows=lambda: map(event_row, _in_batches(only)),
        columns=EVENT_COLUMNS,
    )


def _in_batches(only: EventFilter) -> Iterator[AuditEvent]:
    end = AuditHead.objects.get().size + 1
    above = 0
    while numbers := matching_sequence_numbers(
        only=only, limit=EXPORT_BATCH, above=above, below=end, is_oldest_first=True
    ):
        yield from _events(numbers, order="seq")
        above = numbers[-1]


def code_choices() -> list[str]:
    """Each noun with its dot, then its codes: "credential.", "credential.added", …"""
    prefixes = {f"{code.partition('.')[0]}." for code in EventCode}
    return sorted([*prefixes, *(code.value for code in EventCode)])
