"""How many connections are agreed, without an object for each of ten thousand connections."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from django.db.models import Case, Q, TextField, Value, When

from connections.access.actor import Actor
from connections.agreements.agreed import OWNER_LEFT, Reason, reasons_when
from connections.inventory.inventory import current_snapshots
from connections.models import newest_agreements
from connections.models.text_columns import SEPARATOR, AsText, JoinedText, parse_types

_PAIR = ("site", "source_org_id", "sink_org_id")
_LEFT, _ENDED = "left", "ended"


@dataclass(frozen=True, kw_only=True)
class AgreedCounts:
    """How many connections a person can see, how many are agreed, and why the others aren't.

    A connection can have several reasons.
    """

    total: int
    agreed: int
    reasons: Counter[Reason]


def count_agreed(*, actor: Actor, today: date) -> AgreedCounts:
    """The visible connections by agreement, as the inventory shows them. Two queries or three."""
    current = current_snapshots(actor=actor)
    joined = JoinedText(AsText("connection_id"), *_PAIR, AsText("connection_types"))
    # Both sides list a connection, usually with the same data types.
    listed = set(current.values_list(joined, flat=True))
    connections: dict[str, str] = {}
    differing: list[str] = []
    for text in listed:
        connection_id, _, rest = text.partition(SEPARATOR)
        if connections.setdefault(connection_id, rest) != rest:
            differing.append(connection_id)
    if differing:
        of_these = current.filter(connection_id__in=differing).order_by("last_seen_at", "id")
        for text in of_these.values_list(joined, flat=True):
            connection_id, _, connections[connection_id] = text.partition(SEPARATOR)
    agreements = set(_agreement_texts(today=today))
    # What is the same text as an agreement without a problem is agreed.
    others = [rest for rest in connections.values() if SEPARATOR + rest not in agreements]
    reasons = _find_reasons(others, agreements) if others else []
    return AgreedCounts(
        total=len(connections),
        agreed=len(connections) - sum(map(bool, reasons)),
        reasons=Counter(reason for each in reasons for reason in each),
    )


def _agreement_texts(*, today: date) -> Iterable[str]:
    """The newest version of every agreement: its problem if it has one, its pair, its types."""
    has_ended = Q(ends_on__lt=today)
    problem = Case(
        When(OWNER_LEFT & has_ended, then=Value(_LEFT + _ENDED)),
        When(OWNER_LEFT, then=Value(_LEFT)),
        When(has_ended, then=Value(_ENDED)),
        default=Value(""),
        output_field=TextField(),
    )
    joined = JoinedText(problem, *_PAIR, AsText("connection_types"))
    return newest_agreements().order_by().values_list(joined, flat=True)


def _find_reasons(
    connections: Iterable[str], agreements: Iterable[str]
) -> list[tuple[Reason, ...]]:
    """Why each of these connections isn't agreed. Empty for one that is."""
    by_pair: dict[str, tuple[str, str]] = {}
    for text in agreements:
        problem, _, rest = text.partition(SEPARATOR)
        pair, _, types = rest.rpartition(SEPARATOR)
        by_pair[pair] = problem, types
    found: list[tuple[Reason, ...]] = []
    for text in connections:
        pair, _, types = text.rpartition(SEPARATOR)
        if pair not in by_pair:
            found.append((Reason.NO_AGREEMENT,))
            continue
        problem, agreed_types = by_pair[pair]
        found.append(
            reasons_when(
                has_left=_LEFT in problem,
                is_wider=not set(parse_types(types)) <= set(parse_types(agreed_types)),
                has_ended=_ENDED in problem,
            )
        )
    return found
