"""Finding events among millions: their numbers, read off an index in the order of the record.

The narrowest filter leads and the others are looked at on the way. Where a filter means several
values (all codes of a noun, all people called so), each is read by itself and no more of it than
asked for, because one query for all of them would sort everything they ever did.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Max, Min, Q, QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.chain import NO_HASH
from connections.audit.events import EventCode
from connections.audit.export import EVENT_COLUMNS, Export, event_row
from connections.audit.personal_data import Kind
from connections.core.days import DailyCounts, UtcDay, by_day
from connections.core.errors import InvalidInputError
from connections.models import AuditEvent, AuditHead, Checkpoint, PersonalValue, with_values

# A word that more names and addresses hold is no search for one of them.
MAX_MATCHING_VALUES = 20
# The text index holds nothing shorter.
MIN_WORD_LENGTH = 3
SEARCH_TABLE = "connections_auditevent_search"
# What commands, the worker and strangers are called, without reading what they did.
OTHER_ACTORS = """
    WITH RECURSIVE other (actor) AS (
        SELECT MIN(actor) FROM connections_auditevent WHERE actor_id IS NULL
        UNION ALL
        SELECT (SELECT MIN(event.actor) FROM connections_auditevent AS event
                WHERE event.actor_id IS NULL AND event.actor > other.actor)
        FROM other WHERE other.actor IS NOT NULL
    )
    SELECT actor FROM other WHERE actor IS NOT NULL
"""


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """What to show of the record; an empty field filters nothing. Times are UTC."""

    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    # A person's id, or part of any actor's name.
    actor: str = ""
    # How the code begins: "deletion." or "credential.retired".
    code: str = ""
    subject_id: str = ""
    deletion: UUID | None = None
    request_id: str = ""
    # Words that the sentence holds, in any order.
    text: str = ""


def matching_sequence_numbers(
    *,
    only: EventFilter,
    limit: int,
    below: int | None = None,
    above: int | None = None,
    is_oldest_first: bool = False,
) -> list[int]:
    """The numbers of the first events that pass, newest first unless asked otherwise.

    Raises InvalidInputError for a text or an actor that cannot be looked for.
    """
    rows = _in_period(AuditEvent.objects.all(), only)
    if rows is None:
        return []
    if below is not None:
        rows = rows.filter(seq__lt=below)
    if above is not None:
        rows = rows.filter(seq__gt=above)
    if only.request_id:
        rows = rows.filter(request_id=only.request_id)
    if only.subject_id:
        rows = rows.filter(subject_id=only.subject_id)
    if only.deletion:
        rows = rows.filter(subject_type="deletion", subject_id=str(only.deletion))
    words = _parse_words(only.text)
    is_indexed = [connection.vendor == "sqlite" and word.is_long for word in words]
    for word, is_in_index in zip(words, is_indexed, strict=True):
        rows = rows if is_in_index else rows.filter(word.condition)
    if any(is_indexed):
        bounds = [("<", below), (">", above)]
        indexed = [word for word in words if word.is_long]
        return _search_text_index(
            rows.filter(_actor_and_code_condition(only)), indexed, bounds, limit, is_oldest_first
        )
    is_led = bool(words or only.request_id or only.subject_id or only.deletion)
    parts = [_actor_and_code_condition(only)] if is_led else _conditions_by_value(only)
    return _merge([rows.filter(part) for part in parts], limit, is_oldest_first)


def _in_period(rows: QuerySet[AuditEvent], only: EventFilter) -> QuerySet[AuditEvent] | None:
    """The rows of the period, by their numbers; None when there are none."""
    period = Q()
    if only.since:
        period &= Q(at__gte=only.since)
    if only.until:
        period &= Q(at__lt=only.until)
    if not period:
        return rows
    found = AuditEvent.objects.filter(period).aggregate(
        first=Min("seq"), last=Max("seq"), count=Count("*")
    )
    if not found["count"]:
        return None
    rows = rows.filter(seq__gte=found["first"], seq__lte=found["last"])
    # The clock may have been set back meanwhile: then the numbers alone do not say it.
    is_unbroken = found["count"] == found["last"] - found["first"] + 1
    return rows if is_unbroken else rows.filter(period)


def _conditions_by_value(only: EventFilter) -> list[Q]:
    if only.actor:
        codes = _code_condition(only)
        return [part & codes for part in _actor_conditions(only.actor)]
    if only.code:
        return [Q(code=code) for code in codes_starting_with(only.code)]
    return [Q()]


def _actor_and_code_condition(only: EventFilter) -> Q:
    found = _code_condition(only)
    if only.actor:
        people = Q(pk__in=[])
        for part in _actor_conditions(only.actor):
            people |= part
        found &= people
    return found


def _code_condition(only: EventFilter) -> Q:
    return Q(code__in=codes_starting_with(only.code)) if only.code else Q()


def codes_starting_with(prefix: str) -> list[str]:
    """The codes that begin so."""
    return [code.value for code in EventCode if code.startswith(prefix)]


def _actor_conditions(text: str) -> list[Q]:
    """A condition for each actor who is meant."""
    try:
        return [Q(actor_id=UUID(text))]
    except ValueError:
        people = {
            one.person_id for one in _find_values(text, field="actor") if one.kind == Kind.NAME
        }
    with connection.cursor() as cursor:
        cursor.execute(OTHER_ACTORS)
        others = [name for (name,) in cursor.fetchall() if text.casefold() in name.casefold()]
    parts = [Q(actor_id=None, stored_actor=name) for name in others]
    return parts + [Q(actor_id=person) for person in sorted(people - {None}, key=str)]


def _find_values(text: str, *, field: str) -> list[PersonalValue]:
    """The names and addresses that hold this text; what is erased is not found any more."""
    values = list(PersonalValue.objects.filter(value__icontains=text)[: MAX_MATCHING_VALUES + 1])
    if len(values) > MAX_MATCHING_VALUES:
        message = (
            f"More than {MAX_MATCHING_VALUES} names and addresses hold “{text}”. Type more of it."
        )
        raise InvalidInputError({field: message})
    return values


def _parse_words(text: str) -> list["_SearchWord"]:
    words = text.split()
    if words and max(map(len, words)) < MIN_WORD_LENGTH:
        message = f"Search for a word of {MIN_WORD_LENGTH} characters or more."
        raise InvalidInputError({"q": message})
    return [_SearchWord(word) for word in words]


class _SearchWord:
    """A word to be found in a sentence, as it stands there or by the names that hold it."""

    def __init__(self, word: str) -> None:
        self.word, self.values = word, _find_values(word, field="q")
        self.is_long = len(word) >= MIN_WORD_LENGTH

    @property
    def condition(self) -> Q:
        """In the words of PostgreSQL's index, which holds sentences in capital letters."""
        found = Q(stored_sentence__icontains=self.word)
        for one in self.values:
            found |= Q(stored_sentence__icontains=f"{{{one.kind}:{one.number}}}")
        return found

    @property
    def match(self) -> str:
        """In the words of SQLite's index, where a reference is shortened to its number.

        Somebody may have written such a thing: then one event too many is found, never too few.
        """
        texts = [self.word, *(f"{{{one.number}}}" for one in self.values)]
        phrases = ['"' + text.replace('"', '""') + '"' for text in texts]
        return f"({' OR '.join(phrases)})"


def _search_text_index(
    rows: QuerySet[AuditEvent],
    words: list[_SearchWord],
    bounds: list[tuple[str, int | None]],
    limit: int,
    is_oldest_first: bool,
) -> list[int]:
    # The index knows the numbers and gives them in order: a common word is read no further than
    # the page needs, and a rare one at once.
    rows = rows.extra(  # noqa: S610 - our own text; what is searched for is a parameter
        tables=[SEARCH_TABLE],
        where=[f"{SEARCH_TABLE}.rowid = connections_auditevent.seq", f"{SEARCH_TABLE} MATCH %s"],
        params=[" AND ".join(word.match for word in words)],
        order_by=[f"{SEARCH_TABLE}.rowid" if is_oldest_first else f"-{SEARCH_TABLE}.rowid"],
    )
    for sign, number in bounds:
        if number is not None:
            rows = rows.extra(where=[f"{SEARCH_TABLE}.rowid {sign} %s"], params=[number])  # noqa: S610 - as above
    return list(rows.values_list("seq", flat=True)[:limit])


def _merge(parts: list[QuerySet[AuditEvent]], limit: int, is_oldest_first: bool) -> list[int]:
    """The first numbers of all parts together, each of which is read in order."""
    order = "seq" if is_oldest_first else "-seq"
    ordered = [part.order_by(order).values_list("seq", flat=True)[:limit] for part in parts]
    if len(ordered) <= 1:
        return [number for part in ordered for number in part]
    pieces: list[str] = []
    values: list[Any] = []
    for number, part in enumerate(ordered):
        sql, given = part.query.sql_with_params()
        pieces.append(f"SELECT * FROM ({sql}) AS part{number}")  # noqa: S608 - Django's own text
        values += given
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(pieces), values)
        numbers = [number for (number,) in cursor.fetchall()]
    return sorted(numbers, reverse=not is_oldest_first)[:limit]


PAGE_SIZE = 100
MAX_EXACT_COUNT = 1000
CHART_EVENTS = 5000
# What most acts are about; the others are counted together.
CHART_NOUNS = frozenset({"deletion", "person", "credential"})
EXPORT_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """One page, newest first; `older` is the number that the next one starts below."""

    events: list[AuditEvent]
    older: int | None
    # How many pass the filter: exact up to 1,000, and None when there are more.
    count: int | None
    # Of the newest 5,000 that pass.
    days: DailyCounts


def get_event_page(
    *, actor: Actor, only: EventFilter, below: int | None = None, size: int = PAGE_SIZE
) -> EventPage:
    """The events that pass the filter, newest first, with numbers below `below`.

    Raises PermissionDenied, and InvalidInputError for what cannot be looked for.
    """
    permissions.require(permissions.can_audit(actor), "read the record of acts")
    newest = matching_sequence_numbers(only=only, limit=CHART_EVENTS + 1)
    numbers = newest[: size + 1]
    if below is not None:
        numbers = matching_sequence_numbers(only=only, limit=size + 1, below=below)
    return EventPage(
        events=_events(numbers[:size], order="-seq"),
        older=numbers[size - 1] if len(numbers) > size else None,
        count=len(newest) if len(newest) <= MAX_EXACT_COUNT else None,
        days=_days(newest),
    )


def _days(numbers: list[int]) -> DailyCounts:
    """What these events were about, by day: one of DRAWN_NOUNS or "other"."""
    rows = AuditEvent.objects.filter(pk__in=numbers).order_by().annotate(day=UtcDay("at"))
    counted = rows.values_list("day", "code").annotate(count=Count("*"))
    return by_day(
        ((day, _noun(code), count) for day, code, count in counted), limit=CHART_EVENTS + 1
    )


def _noun(code: str) -> str:
    noun = code.partition(".")[0]
    return noun if noun in CHART_NOUNS else "other"


def _events(numbers: list[int], *, order: str) -> list[AuditEvent]:
    return with_values(AuditEvent.objects.filter(pk__in=numbers).order_by(order))


@dataclass(frozen=True, kw_only=True)
class EventDetail:
    """One event, and what it can be checked by."""

    event: AuditEvent
    # 64 hex digits each: the hash that this event's own hash goes on from.
    previous_hash: str
    # The first checkpoint that vouches for it; None while there is none yet.
    checkpoint: Checkpoint | None
    is_newest: bool


def get_event(*, actor: Actor, seq: int) -> EventDetail | None:
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
    return EventDetail(
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
        rows=lambda: map(event_row, _event_batches(only)),
        columns=EVENT_COLUMNS,
    )


def _event_batches(only: EventFilter) -> Iterator[AuditEvent]:
    end = AuditHead.objects.get().size + 1
    above = 0
    while numbers := matching_sequence_numbers(
        only=only, limit=EXPORT_BATCH_SIZE, above=above, below=end, is_oldest_first=True
    ):
        yield from _events(numbers, order="seq")
        above = numbers[-1]


def code_choices() -> list[str]:
    """Each noun with its dot, then its codes: "credential.", "credential.added", …"""
    prefixes = {f"{code.partition('.')[0]}." for code in EventCode}
    return sorted([*prefixes, *(code.value for code in EventCode)])
