"""How many connections are agreed, without an object for each of ten thousand connections."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from django.db.models import Case, TextField, Value, When
from django.db.models.functions import Concat

from connections.access.actor import Actor
from connections.agreements.agreed import OWNER_LEFT, NotAgreed, reasons_when
from connections.inventory.inventory import current_snapshots
from connections.models import newest_agreements
from connections.models.text_columns import (
    SEPARATOR,
    AsText,
    JoinedText,
    parse_types,
    read_joined,
)

_PAIR = ("site", "source_org_id", "sink_org_id")
_LEFT, _ENDED = "left", "ended"


@dataclass(frozen=True, kw_only=True)
class AgreedCounts:
    """How many connections a person can see, how many are agreed, and why the others aren't.

    A connection can have several reasons.
    """

    total: int
    agreed: int
    reasons: Counter[NotAgreed]


def count_agreed(*, actor: Actor, today: date) -> AgreedCounts:
    """The visible connections by agreement, as the inventory shows them. Two queries or three."""
    current = current_snapshots(actor=actor)
    columns = (AsText("connection_id"), *_PAIR, AsText("connection_types"))
    # Both sides list a connection, usually with the same data types.
    listed: Collection[str] = set(read_joined(current, *columns))
    connections = dict(text.split(SEPARATOR, 1) for text in listed)
    if len(connections) < len(listed):
        listed = current.order_by("last_seen_at", "id").values_list(JoinedText(*columns), flat=True)
        connections = dict(text.split(SEPARATOR, 1) for text in listed)
    terms_of = _load_terms(today=today)
    rows = (rest.rpartition(SEPARATOR) for rest in connections.values())
    # There are few combinations of listed data types and agreed terms.
    combinations = Counter((types, terms_of.get(pair)) for pair, _, types in rows)
    agreed, reasons = 0, Counter[NotAgreed]()
    for (types, terms), count in combinations.items():
        found = _find_reasons(types, terms)
        reasons.update(dict.fromkeys(found, count))
        agreed += 0 if found else count
    return AgreedCounts(total=len(connections), agreed=agreed, reasons=reasons)


def _load_terms(*, today: date) -> dict[str, str]:
    """By pair, the problems of the newest version of its agreement, and its data types."""
    left = Case(When(OWNER_LEFT, then=Value(_LEFT)), default=Value(""))
    ended = Case(When(ends_on__lt=today, then=Value(_ENDED)), default=Value(""))
    types = Concat(left, ended, AsText("connection_types"), output_field=TextField())
    return dict(
        text.rsplit(SEPARATOR, 1)
        for text in read_joined(newest_agreements().order_by(), *_PAIR, types)
    )


def _find_reasons(types: str, terms: str | None) -> tuple[NotAgreed, ...]:
    """Why connections with these data types and terms aren't agreed. Empty if they are."""
    if terms is None:
        return (NotAgreed.NO_AGREEMENT,)
    problems, _, agreed_types = terms.partition("[")
    return reasons_when(
        has_left=_LEFT in problems,
        is_wider=not set(parse_types(types)) <= set(parse_types("[" + agreed_types)),
        has_ended=_ENDED in problems,
    )
