"""Personal data in the audit log: events refer to names and addresses, which can be erased.

A service writes `f"{personal_data.name_of(actor)} did it."`. This puts a mark into the sentence,
which becomes a reference when the event is appended. Marks hold a token of this process, so text
from outside can't pass for one.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Min, Q

from connections.access.actor import Actor
from connections.audit import chain
from connections.core import clock
from connections.models import AuditHead, Person, PersonalValue

Kind = PersonalValue.Kind

_PROCESS_TOKEN = secrets.token_hex(8)
_MARK = re.compile(
    rf"\ufdd0{_PROCESS_TOKEN}:(name|address|agent):([0-9a-f-]*):(.*?)\ufdd1", re.DOTALL
)
_MAX_LENGTH = 400


@dataclass(frozen=True, kw_only=True)
class ReferencedValue:
    """A piece of personal data in a text; `person_id` is None for an unknown person's."""

    kind: Kind
    person_id: UUID | None
    text: str


def name_of(whom: Actor | Person) -> str:
    """The mark for a person's name; the plain name for a command or the worker."""
    if isinstance(whom, Person):
        return _mark(ReferencedValue(kind=Kind.NAME, person_id=whom.pk, text=whom.display_name))
    if whom.person is None:
        return whom.name
    return _mark(ReferencedValue(kind=Kind.NAME, person_id=whom.person.pk, text=whom.name))


def address_of(text: str, *, of: Person | None) -> str:
    """The mark for the network address of a request."""
    return _mark(ReferencedValue(kind=Kind.ADDRESS, person_id=of.pk if of else None, text=text))


def browser_of(text: str, *, of: Person | None) -> str:
    """The mark for a User-Agent header."""
    return _mark(ReferencedValue(kind=Kind.AGENT, person_id=of.pk if of else None, text=text))


def ensure_person_number(person: Person) -> int:
    """The number that still identifies a person after erasure.

    Stores the person's name first when no event has referred to the person yet.
    """
    with transaction.atomic():
        AuditHead.objects.select_for_update().get()
        store_references(name_of(person))
    known = PersonalValue.objects.filter(person_id=person.pk)
    number: int = known.earliest("person_number").person_number
    return number


def _mark(value: ReferencedValue) -> str:
    text = chain.clean(value.text)[:_MAX_LENGTH].replace("\ufdd1", "\ufffd")
    return f"\ufdd0{_PROCESS_TOKEN}:{value.kind}:{value.person_id or ''}:{text}\ufdd1"


def store_references(*texts: str) -> tuple[list[str], dict[str, str]]:
    """Replace the marks in the texts by references; also return each value's commitment by number.

    Stores values that no event has referred to before. Call it while the chain's head is locked,
    which keeps the numbers in order. Raises database errors.
    """
    pieces = [_split_at_marks(text) for text in texts]
    wanted = {piece for each in pieces for piece in each if isinstance(piece, ReferencedValue)}
    rows = _rows_for(wanted) if wanted else {}
    stored = ["".join(_stored_text(piece, rows) for piece in each) for each in pieces]
    return stored, {str(row.number): row.commitment for row in rows.values()}


def _split_at_marks(text: str) -> list[str | ReferencedValue]:
    pieces: list[str | ReferencedValue] = []
    end = 0
    for match in _MARK.finditer(text):
        person_id = UUID(match[2]) if match[2] else None
        value = ReferencedValue(kind=Kind(match[1]), person_id=person_id, text=match[3])
        pieces += [text[end : match.start()], value]
        end = match.end()
    return [*pieces, text[end:]]


def _stored_text(piece: str | ReferencedValue, rows: dict[ReferencedValue, PersonalValue]) -> str:
    if isinstance(piece, ReferencedValue):
        return f"{{{piece.kind}:{rows[piece].number}}}"
    return chain.clean(piece).replace("{", "{{").replace("}", "}}")


def _rows_for(wanted: Iterable[ReferencedValue]) -> dict[ReferencedValue, PersonalValue]:
    any_of = Q()
    for value in wanted:
        any_of |= Q(value=value.text, kind=value.kind, person_id=value.person_id)
    rows = {
        ReferencedValue(kind=Kind(row.kind), person_id=row.person_id, text=row.value): row
        for row in PersonalValue.objects.filter(any_of, erased_at=None)
    }
    for value in sorted(set(wanted) - set(rows), key=lambda one: (one.kind, one.text)):
        rows[value] = _create_value(value)
    return rows


def _create_value(value: ReferencedValue) -> PersonalValue:
    numbers = PersonalValue.objects.aggregate(
        last=Max("number"), first=Min("person_number", filter=Q(person_id=value.person_id))
    )
    number = (numbers["last"] or 0) + 1
    salt = secrets.token_bytes(32)
    is_erased = _is_erased(value.person_id)
    return PersonalValue.objects.create(
        number=number,
        person_number=(numbers["first"] if value.person_id else None) or number,
        person_id=value.person_id,
        kind=value.kind,
        value="" if is_erased else value.text,
        salt="" if is_erased else salt.hex(),
        erased_at=clock.now() if is_erased else None,
        commitment=chain.commitment(salt=salt, kind=value.kind, value=value.text),
    )


def _is_erased(person_id: UUID | None) -> bool:
    """Whether the person was erased: events of a request still running then add no name."""
    erased = PersonalValue.objects.filter(person_id=person_id, erased_at__isnull=False)
    return person_id is not None and erased.exists()
