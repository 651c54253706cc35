"""Reading the record of acts: newest first, by filter, in pages that start at a number."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from connections import policies
from connections.actors import Actor
from connections.models import AuditEvent, ErasableValue, with_values
from connections.services.audit import Code
from connections.services.erasable import Kind

PAGE_SIZE = 100
# A text that more names hold is no search for one of them.
MOST_VALUES = 50


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """What to show of the record; an empty field filters nothing."""

    # A person's id, or part of any actor's name.
    actor: str = ""
    # How the code begins: "deletion." or "credential.retired".
    code: str = ""
    subject_id: str = ""
    # Words that the sentence holds, in any order.
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """One page, newest first; `older` is the number that the next one starts below."""

    events: list[AuditEvent]
    older: int | None


def event_page(
    *, actor: Actor, only: EventFilter, below: int | None = None, size: int = PAGE_SIZE
) -> EventPage:
    """The events that pass the filter, newest first, with numbers below `below`.

    Raises PermissionDenied.
    """
    policies.require(policies.can_audit(actor), "read the record of acts")
    rows = _find(only)
    if below is not None:
        rows = rows.filter(seq__lt=below)
    events = with_values(rows[: size + 1])
    older = events[size - 1].seq if len(events) > size else None
    return EventPage(events=events[:size], older=older)


def _find(only: EventFilter) -> QuerySet[AuditEvent]:
    rows = AuditEvent.objects.order_by("-seq")
    if only.actor:
        rows = rows.filter(_by_actor(only.actor))
    if only.code:
        # The codes are few and known: an exact match reads the index, a prefix would not.
        rows = rows.filter(code__in=[code for code in Code if code.startswith(only.code)])
    if only.subject_id:
        rows = rows.filter(subject_id=only.subject_id)
    for word in only.text.split():
        rows = rows.filter(_by_word(word))
    return rows


def _by_actor(text: str) -> Q:
    try:
        return Q(actor_id=UUID(text))
    except ValueError:
        people = [one.person_id for one in _values_like(text) if one.kind == Kind.NAME]
        return Q(stored_actor__icontains=text) | Q(actor_id__in=people)


def _by_word(word: str) -> Q:
    found = Q(stored_sentence__icontains=word)
    for one in _values_like(word):
        found |= Q(stored_sentence__contains=f"{{{one.kind}:{one.number}}}")
    return found


def _values_like(text: str) -> list[ErasableValue]:
    """The names and addresses that hold this text; what is erased is not found any more."""
    return list(ErasableValue.objects.filter(value__icontains=text)[:MOST_VALUES])


def code_prefixes() -> list[str]:
    """What codes are about, each with its dot: "credential.", "deletion.", …"""
    return sorted({f"{code.partition('.')[0]}." for code in Code})
