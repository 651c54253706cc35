"""Finds events by filters, one page at a time, quickly even among millions of events.

Each query reads sequence numbers in order from one index, the one for the most selective filter,
and checks the other filters on each row. When a filter matches several values (all codes of a noun,
all people with a name), each value gets its own query with the same limit. A single query for all
values would have to sort all their events.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Max, Min, Q, QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.audit.personal_data import Kind
from connections.core.errors import InvalidInputError
from connections.core.text import uuid_or_none
from connections.models import (
    AuditEvent,
    AuditHead,
    Checkpoint,
    EventCode,
    PersonalValue,
    with_values,
)

# A word found in more names and addresses than this is refused as too broad.
MAX_MATCHING_VALUES = 20
# The text index holds trigrams, so shorter words can't be looked up.
MIN_WORD_LENGTH = 3
SEARCH_TABLE = "connections_auditevent_search"
# The distinct names of actors that aren't people. A recursive query that reads one index entry per
# name, because neither database skips to the next distinct value on its own.
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
    """Which events to show. An empty field filters nothing. Of several values, any matches.

    Times are UTC.
    """

    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    # People's IDs, or parts of actors' names.
    actor: tuple[str, ...] = ()
    # Prefixes of the code, such as "deletion.", or whole codes, such as "credential.retired".
    code: tuple[str, ...] = ()
    subject_id: str = ""
    deletion: UUID | None = None
    request_id: str = ""
    # Words in the sentence, in any order.
    text: str = ""


def find_sequence_numbers(
    *,
    filters: EventFilter,
    limit: int,
    below: int | None = None,
    above: int | None = None,
    is_oldest_first: bool = False,
) -> list[int]:
    """The sequence numbers of the first `limit` matching events, newest first by default.

    Raises InvalidInputError for a text or an actor that can't be searched for.
    """
    rows = _in_period(AuditEvent.objects.all(), filters)
    if rows is None:
        return []
    if below is not None:
        rows = rows.filter(seq__lt=below)
    if above is not None:
        rows = rows.filter(seq__gt=above)
    if filters.request_id:
        rows = rows.filter(request_id=filters.request_id)
    if filters.subject_id:
        rows = rows.filter(subject_id=filters.subject_id)
    if filters.deletion:
        rows = rows.filter(subject_type="deletion", subject_id=str(filters.deletion))
    words = _parse_words(filters.text)
    # PostgreSQL uses its text index for the condition itself.
    indexed = [word for word in words if word.is_long and connection.vendor == "sqlite"]
    for word in words:
        rows = rows if word in indexed else rows.filter(word.condition)
    if indexed:
        bounds = [("<", below), (">", above)]
        return _search_text_index(
            rows.filter(_actor_and_code_condition(filters)), indexed, bounds, limit, is_oldest_first
        )
    has_selective_filter = words or filters.request_id or filters.subject_id or filters.deletion
    parts = (
        [_actor_and_code_condition(filters)]
        if has_selective_filter
        else _conditions_by_value(filters)
    )
    return _merge([rows.filter(part) for part in parts], limit, is_oldest_first)


def _in_period(rows: QuerySet[AuditEvent], filters: EventFilter) -> QuerySet[AuditEvent] | None:
    """Limit the rows to the period by sequence number. None if the period has no events."""
    period = Q()
    if filters.since:
        period &= Q(at__gte=filters.since)
    if filters.until:
        period &= Q(at__lt=filters.until)
    if not period:
        return rows
    bounds = AuditEvent.objects.filter(period).aggregate(
        first=Min("seq"), last=Max("seq"), count=Count("*")
    )
    if not bounds["count"]:
        return None
    rows = rows.filter(seq__gte=bounds["first"], seq__lte=bounds["last"])
    # If the clock was set back, the numbers alone don't delimit the period.
    is_unbroken = bounds["count"] == bounds["last"] - bounds["first"] + 1
    return rows if is_unbroken else rows.filter(period)


def _conditions_by_value(filters: EventFilter) -> list[Q]:
    """A condition for each matching actor or, without an actor, for each matching code."""
    if filters.actor:
        codes = Q(code__in=_matching_codes(filters)) if filters.code else Q()
        return [part & codes for part in _actor_conditions(filters.actor)]
    if filters.code:
        return [Q(code=code) for code in _matching_codes(filters)]
    return [Q()]


def _actor_and_code_condition(filters: EventFilter) -> Q:
    conditions = _conditions_by_value(filters)
    return reduce(or_, conditions) if conditions else Q(pk__in=[])


def _matching_codes(filters: EventFilter) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(map(codes_starting_with, filters.code))))


def codes_starting_with(prefix: str) -> list[str]:
    """The codes that start with a prefix."""
    return [code.value for code in EventCode if code.startswith(prefix)]


def _actor_conditions(texts: Iterable[str]) -> list[Q]:
    """A condition for each matching actor."""
    ids = {text: uuid_or_none(text) for text in texts}
    people = {pk for pk in ids.values() if pk}
    parts = [text for text, pk in ids.items() if not pk]
    if not parts:
        return [Q(actor_id=person) for person in people]
    values = _find_values(parts, field="actor")
    people |= {value.person_id for value in values if value.person_id and value.kind == Kind.NAME}
    with connection.cursor() as cursor:
        cursor.execute(OTHER_ACTORS)
        names = [name for (name,) in cursor.fetchall()]
    others = [name for name in names if any(part.casefold() in name.casefold() for part in parts)]
    conditions = [Q(actor_id=None, stored_actor=name) for name in others]
    return conditions + [Q(actor_id=person) for person in sorted(people, key=str)]


def _find_values(texts: list[str], *, field: str) -> list[PersonalValue]:
    """The names and addresses that contain one of these texts. Erased ones contain nothing.

    Raises InvalidInputError, about `field`, when there are too many.
    """
    contains = reduce(or_, (Q(value__icontains=text) for text in texts))
    values = list(PersonalValue.objects.filter(contains)[: MAX_MATCHING_VALUES + 1])
    if len(values) > MAX_MATCHING_VALUES:
        message = (
            f"More than {MAX_MATCHING_VALUES} names and addresses contain "
            f"“{'” or “'.join(texts)}”. Enter a longer text."
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
    """A search word. It matches a sentence, or a name or address that the sentence refers to."""

    def __init__(self, word: str) -> None:
        self.word, self.values = word, _find_values([word], field="q")
        self.is_long = len(word) >= MIN_WORD_LENGTH

    @property
    def condition(self) -> Q:
        """The condition on the sentence, in upper case like PostgreSQL's index."""
        condition = Q(stored_sentence__icontains=self.word)
        for value in self.values:
            condition |= Q(stored_sentence__icontains=f"{{{value.kind}:{value.number}}}")
        return condition

    @property
    def match(self) -> str:
        """The query for SQLite's index, which shortens a reference to its number.

        A sentence can contain such text literally; the search then finds an extra event.
        """
        texts = [self.word, *(f"{{{value.number}}}" for value in self.values)]
        phrases = ['"' + text.replace('"', '""') + '"' for text in texts]
        return f"({' OR '.join(phrases)})"


def _search_text_index(
    rows: QuerySet[AuditEvent],
    words: list[_SearchWord],
    bounds: list[tuple[str, int | None]],
    limit: int,
    is_oldest_first: bool,
) -> list[int]:
    # The index returns the numbers in order, so a common word reads no more of them than needed.
    rows = rows.extra(  # noqa: S610 - constant text; the search text is a parameter
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
    """The first `limit` numbers that any of these queries finds. Each query is read in order."""
    order = "seq" if is_oldest_first else "-seq"
    ordered = [part.order_by(order).values_list("seq", flat=True)[:limit] for part in parts]
    if len(ordered) <= 1:
        return [number for part in ordered for number in part]
    pieces: list[str] = []
    values: list[Any] = []
    for number, part in enumerate(ordered):
        sql, parameters = part.query.sql_with_params()
        pieces.append(f"SELECT * FROM ({sql}) AS part{number}")  # noqa: S608 - Django's own text
        values += parameters
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(pieces), values)
        numbers = [number for (number,) in cursor.fetchall()]
    return sorted(numbers, reverse=not is_oldest_first)[:limit]


PAGE_SIZE = 100
MAX_EXACT_COUNT = 1000
EXPORT_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """One page of events. The next page starts after the number `next`."""

    events: list[AuditEvent]
    # None on the last page.
    next: int | None
    # The number of matching events up to 1,000. None if there are more.
    count: int | None


def get_event_page(
    *,
    actor: Actor,
    filters: EventFilter,
    after: int | None = None,
    is_oldest_first: bool = False,
    size: int = PAGE_SIZE,
) -> EventPage:
    """One page of matching events after a number, newest first by default.

    Raises PermissionDenied, and InvalidInputError for text that can't be searched for.
    """
    permissions.require(permissions.can_audit(actor), "read the audit log")
    newest = find_sequence_numbers(filters=filters, limit=MAX_EXACT_COUNT + 1)
    numbers = newest[: size + 1]
    if after is not None or is_oldest_first:
        numbers = find_sequence_numbers(
            filters=filters,
            limit=size + 1,
            below=None if is_oldest_first else after,
            above=after if is_oldest_first else None,
            is_oldest_first=is_oldest_first,
        )
    return EventPage(
        events=_events(numbers[:size], order="seq" if is_oldest_first else "-seq"),
        next=numbers[size - 1] if len(numbers) > size else None,
        count=len(newest) if len(newest) <= MAX_EXACT_COUNT else None,
    )


def _events(numbers: list[int], *, order: str) -> list[AuditEvent]:
    return with_values(AuditEvent.objects.filter(pk__in=numbers).order_by(order))


@dataclass(frozen=True, kw_only=True)
class EventDetail:
    """One event, with what it takes to verify it."""

    event: AuditEvent
    # The first checkpoint that covers it. None until there is one.
    checkpoint: Checkpoint | None
    is_newest: bool


def get_event(*, actor: Actor, seq: int) -> EventDetail | None:
    """One event by its number, or None. Raises PermissionDenied."""
    permissions.require(permissions.can_audit(actor), "read the audit log")
    head = AuditHead.objects.get()
    if not 1 <= seq <= head.size:
        return None
    event = AuditEvent.objects.filter(pk=seq).first()
    if event is None:
        # It was removed, which `verify_audit` reports.
        return None
    return EventDetail(
        event=with_values([event])[0],
        checkpoint=Checkpoint.objects.filter(size__gte=seq).order_by("size", "id").first(),
        is_newest=head.size == seq,
    )


def iterate_events(filters: EventFilter) -> Iterator[AuditEvent]:
    """All matching events, oldest first, without those recorded after the first is read."""
    end = AuditHead.objects.get().size + 1
    above = 0
    while numbers := find_sequence_numbers(
        filters=filters, limit=EXPORT_BATCH_SIZE, above=above, below=end, is_oldest_first=True
    ):
        yield from _events(numbers, order="seq")
        above = numbers[-1]


def code_choices() -> list[str]:
    """Every code, with the codes of each noun preceded by their prefix, such as "credential."."""
    prefixes = {f"{code.partition('.')[0]}." for code in EventCode}
    return sorted([*prefixes, *(code.value for code in EventCode)])
