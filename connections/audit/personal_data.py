"""Event sentences and the personal data in them: references to values that can be erased."""

import secrets
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Min, Q

from connections.access.actor import Actor
from connections.audit import chain
from connections.core import clock
from connections.models import AuditHead, Person, PersonalValue
from connections.verifier.events import commitment_of

Kind = PersonalValue.Kind

_MAX_LENGTH = 400


@dataclass(frozen=True, kw_only=True)
class ReferencedValue:
    """A piece of personal data in a text. `person_id` is None for an unknown person."""

    kind: Kind
    person_id: UUID | None
    text: str


class Sentence:
    """What happened, as `Sentence("{actor} disabled {person}.", person=person)`.

    The event's actor is `{actor}`. A person is referred to by their current name. The template is a
    literal and every other text is a value, as with `format_html`: a value is never read as a
    template, so an org named "{person}" stays that text. Several values of one field are separated
    by commas. Raises TypeError unless the values are exactly those that the template names.
    """

    def __init__(
        self,
        template: str,
        /,
        **values: str | int | Person | ReferencedValue | Sequence[ReferencedValue],
    ) -> None:
        # None stands for the actor.
        pieces: list[str | ReferencedValue | None] = []
        fields: set[str] = set()
        for literal, field, _, _ in string.Formatter().parse(template):
            pieces.append(literal)
            if field == "actor":
                pieces.append(None)
            elif field is not None:
                pieces += _pieces_of(values.get(field, ""))
                fields.add(field)
        if fields != values.keys():
            raise TypeError(f"The values {sorted(values)} are not those of: {template}")
        self._pieces = tuple(pieces)

    def pieces_of(self, actor: Actor) -> list[str | ReferencedValue]:
        """The parts of the sentence for an event by this actor."""
        return [name_of(actor) if piece is None else piece for piece in self._pieces]

    def followed_by(self, *sentences: "Sentence | str") -> "Sentence":
        """This sentence followed by others; empty ones are left out."""
        longer = Sentence("")
        for sentence in (self, *sentences):
            pieces: tuple[str | ReferencedValue | None, ...] = (
                sentence._pieces if isinstance(sentence, Sentence) else (sentence,)
            )
            if any(pieces):
                longer._pieces += (" ", *pieces) if longer._pieces else pieces
        return longer


def _pieces_of(
    value: str | int | Person | ReferencedValue | Sequence[ReferencedValue],
) -> list[str | ReferencedValue]:
    if isinstance(value, Person):
        return [name_of(value)]
    if isinstance(value, ReferencedValue):
        return [value]
    if isinstance(value, str | int):
        return [str(value)]
    return [piece for name in value for piece in (", ", name)][1:]


def name_of(whom: Actor | Person) -> ReferencedValue | str:
    """A person's name as a reference; the plain name for a command or the worker."""
    if isinstance(whom, Person):
        return _referenced(Kind.NAME, whom.display_name, person=whom)
    if whom.person is None:
        return whom.name
    return _referenced(Kind.NAME, whom.name, person=whom.person)


def recorded_name(text: str, *, person: Person) -> ReferencedValue:
    """A person's name as it was recorded earlier."""
    return _referenced(Kind.NAME, text, person=person)


def address_of(text: str, *, person: Person | None) -> ReferencedValue:
    """The network address of a request."""
    return _referenced(Kind.ADDRESS, text, person=person)


def browser_of(text: str, *, person: Person | None) -> ReferencedValue | str:
    """A User-Agent header; "an unknown browser" without one."""
    if not text:
        return "an unknown browser"
    return _referenced(Kind.AGENT, text, person=person)


def _referenced(kind: Kind, text: str, *, person: Person | None) -> ReferencedValue:
    text = chain.clean(text)[:_MAX_LENGTH]
    return ReferencedValue(kind=kind, person_id=person.pk if person else None, text=text)


def ensure_person_number(person: Person) -> int:
    """The number that still identifies a person after erasure.

    Stores the person's name first when no event has referred to the person yet.
    """
    with transaction.atomic():
        AuditHead.objects.select_for_update().get()
        store_values([_referenced(Kind.NAME, person.display_name, person=person)])
    known = PersonalValue.objects.filter(person_id=person.pk)
    number: int = known.earliest("person_number").person_number
    return number


class Values(dict[ReferencedValue, PersonalValue]):
    """The stored rows of values."""

    def text_of(self, pieces: Sequence[str | ReferencedValue]) -> str:
        """A text as events store it: its values are references."""
        return "".join(map(self._stored, pieces))

    def _stored(self, piece: str | ReferencedValue) -> str:
        if isinstance(piece, ReferencedValue):
            return f"{{{piece.kind}:{self[piece].number}}}"
        return chain.clean(piece).replace("{", "{{").replace("}", "}}")


def store_values(values: Iterable[ReferencedValue]) -> Values:
    """The rows of these values. Stores those that no event has referred to before.

    Call it while the chain's head is locked, which keeps the numbers in order. Raises database
    errors.
    """
    wanted, any_of = set(values), Q()
    for value in wanted:
        any_of |= Q(value=value.text, kind=value.kind, person_id=value.person_id)
    stored = PersonalValue.objects.filter(any_of, erased_at=None) if wanted else ()
    rows = Values(
        {
            ReferencedValue(kind=Kind(row.kind), person_id=row.person_id, text=row.value): row
            for row in stored
        }
    )
    for value in sorted(wanted - set(rows), key=lambda value: (value.kind, value.text)):
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
        commitment=commitment_of(salt, value.kind, value.text),
    )


def _is_erased(person_id: UUID | None) -> bool:
    """Whether the person was erased. Events of a request still in progress then add no name."""
    erased = PersonalValue.objects.filter(person_id=person_id, erased_at__isnull=False)
    return person_id is not None and erased.exists()
