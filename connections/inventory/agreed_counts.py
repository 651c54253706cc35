"""How many connections are agreed, without an object for each of ten thousand connections."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from functools import cache

from django.db.models import Case, Exists, OuterRef, Q, TextField, Value, When
from django.db.models.functions import Concat

from connections.access import permissions
from connections.access.actor import Actor
from connections.agreements.agreed import OWNER_LEFT, NotAgreed, reasons_when
from connections.agreements.setting import can_set
from connections.inventory.inventory import current_snapshots
from connections.models import (
    AWAITS_OWNER,
    IS_ACCEPTED,
    IS_REFUSED,
    OrgPair,
    newest_agreements,
)
from connections.models.text_columns import (
    SEPARATOR,
    AsText,
    JoinedText,
    parse_types,
    read_joined,
)

_PAIR = ("site", "source_org_id", "sink_org_id")
_LEFT, _ENDED = "left", "ended"
_ACCEPTED, _WITHOUT_ACCOUNT = "accepted", "no account"


@dataclass(frozen=True, kw_only=True)
class AgreedCounts:
    """How many connections a person can see, how many are agreed, and why the others aren't.

    A connection can have several reasons.
    """

    total: int
    agreed: int
    # Of those agreed: accepted by their owner, and those whose owner has no account.
    accepted: int
    without_account: int
    reasons: Counter[NotAgreed]
    # The pairs of those that aren't agreed, each as its joined columns.
    not_agreed: frozenset[str]


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
    # There are few combinations of listed data types and agreed terms.
    combinations, reasons_of = Counter[tuple[str, str | None]](), cache(_find_reasons)
    not_agreed = set()
    for rest in connections.values():
        pair, _, types = rest.rpartition(SEPARATOR)
        terms = terms_of.get(pair)
        combinations[types, terms] += 1
        if reasons_of(types, terms):
            not_agreed.add(pair)
    reasons, agreed = Counter[NotAgreed](), Counter[str]()
    for (types, terms), count in combinations.items():
        if found := reasons_of(types, terms):
            reasons.update(dict.fromkeys(found, count))
        elif terms is not None:
            agreed[terms.partition("[")[0]] += count
    return AgreedCounts(
        total=len(connections),
        agreed=agreed.total(),
        accepted=agreed[_ACCEPTED],
        without_account=agreed[_WITHOUT_ACCOUNT],
        reasons=reasons,
        not_agreed=frozenset(not_agreed),
    )


@dataclass(frozen=True, kw_only=True)
class AgreementNeeds:
    """How many connections a person answers for, and what they can do about agreements."""

    # Without those that the person refused.
    answered: int
    # Of these, those whose agreement the person has neither accepted nor refused.
    to_accept: int
    # Others that aren't agreed or that their owners refused, where the person can set the
    # agreement; 0 before the first one.
    to_agree: int
    # Of these, those that their owners refused.
    refused: int


def find_agreement_needs(*, actor: Actor, agreed: Callable[[], AgreedCounts]) -> AgreementNeeds:
    """What the part "Needs you" of the agreements lists. `agreed` is what `count_agreed` returns.

    One query or, for those who can set agreements, two and those of `agreed`.
    """
    of_pair = {name: OuterRef(name) for name in _PAIR}
    listed = Exists(current_snapshots(actor=actor).filter(**of_pair))
    awaits, is_refused = (
        Case(When(each, then=True), default=False) for each in (AWAITS_OWNER, IS_REFUSED)
    )
    is_own, sets_any = Q(owner=actor.person), permissions.can_set_agreements(actor)
    newest = newest_agreements().filter(is_own | IS_REFUSED if sets_any else is_own, listed)
    columns = newest.order_by().values_list(*_PAIR, awaits, is_refused)
    rows = list(columns) if actor.person else []
    refused = {OrgPair(*row[:3]) for row in rows if row[4]}
    to_accept = {row[:3] for row in rows if row[3]}
    to_agree: set[OrgPair] = set()
    if sets_any:
        counts = agreed()
        pairs = {OrgPair(*text.split(SEPARATOR)) for text in counts.not_agreed} - to_accept
        pairs |= refused
        if counts.reasons[NotAgreed.NO_AGREEMENT] < counts.total:
            to_agree = can_set(actor=actor, pairs=pairs) if pairs else pairs
    return AgreementNeeds(
        answered=len(rows) - len(refused),
        to_accept=len(to_accept),
        to_agree=len(to_agree),
        refused=len(to_agree & refused),
    )


def _load_terms(*, today: date) -> dict[str, str]:
    """By pair, the problems of the newest version of its agreement, and its data types."""
    left = Case(When(OWNER_LEFT, then=Value(_LEFT)), default=Value(""))
    ended = Case(When(ends_on__lt=today, then=Value(_ENDED)), default=Value(""))
    said = Case(
        When(owner=None, then=Value(_WITHOUT_ACCOUNT)),
        When(IS_ACCEPTED, then=Value(_ACCEPTED)),
        default=Value(""),
    )
    types = Concat(left, ended, said, AsText("connection_types"), output_field=TextField())
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
