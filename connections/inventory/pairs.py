"""The pairs of orgs that have a connection or an agreement, and what was agreed about each."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from itertools import batched
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.agreements.agreed import (
    PAIRS_PER_QUERY,
    AgreedTerms,
    Agreements,
    NotAgreed,
    ends_within,
    find_agreements,
    listed_types,
    load_agreements,
    reasons_of,
)
from connections.agreements.setting import can_set
from connections.agreements.texts import DAYS_SOON
from connections.core import clock
from connections.inventory.inventory import current_snapshots
from connections.inventory.matching import KnownOrg, sort_orgs, split_pair
from connections.lookups.objects import require_connection
from connections.models import (
    Agreement,
    Org,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    newest_agreements,
    of_these_pairs,
)
from connections.models.text_columns import AsText, HexId, parse_types

# In the order of the list: a pair that has several stands with the first.
_RANKS = {reason: rank for rank, reason in enumerate(NotAgreed)}
_AGREED, _GONE = len(_RANKS), len(_RANKS) + 1
_NO_END = "9999-12-31"
_PAIR = ("site", "source_org_id", "sink_org_id")
type _Key = tuple[str, str, str]


class ListedPair(NamedTuple):
    """A pair as filters and sorting need it, without a model object. Dates and types are text."""

    source_org: KnownOrg
    sink_org: KnownOrg
    # A JSON array; "" without a current connection.
    types_text: str
    terms: AgreedTerms | None
    # Why its connection isn't agreed. Empty without a connection.
    reasons: tuple[NotAgreed, ...]

    @property
    def pair(self) -> OrgPair:
        """The site and both orgs."""
        return OrgPair(self.source_org.site, self.source_org.org_id, self.sink_org.org_id)

    @property
    def is_gone(self) -> bool:
        """Whether its agreement has no connection any more."""
        return not self.types_text

    @property
    def is_refused(self) -> bool:
        """Whether the owner of the agreement about its connection says that it isn't theirs."""
        return not self.is_gone and self.terms is not None and self.terms.is_refused

    @property
    def agreed(self) -> str:
        """Whether its connection is agreed: "yes", "no", or "gone" without a connection."""
        return "gone" if self.is_gone else "no" if self.reasons else "yes"

    @property
    def types(self) -> list[str]:
        """The data types that its connection shares."""
        return parse_types(self.types_text) if self.types_text else []

    @property
    def ends_on(self) -> str:
        """The last day of its agreement, as "2026-12-31"; "" without one."""
        return self.terms.last_day if self.terms else ""


class _Owner(NamedTuple):
    username: str
    name: str


type _Condition = Callable[[ListedPair], Any]


@dataclass(frozen=True, kw_only=True)
class PairFilter:
    """Which pairs to list. An empty field filters nothing; of several values, any counts."""

    # Usernames.
    owner: Collection[str] = ()
    site: Collection[str] = ()
    # "<site>/<org id>" of either org.
    org: Collection[str] = ()
    # The group of either org.
    group: Collection[str] = ()
    reason: Collection[str] = ()
    # Agreements that end today or in at most so many days.
    ends_within: int | None = None
    # Only what the actor owns and hasn't decided about or, if they can set it, isn't agreed or is
    # refused by its owner.
    needs_actor: bool = False
    # Words; before an arrow, those of the source org.
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A pair with the model object of its agreement, and the ID of its connection, if any."""

    listed: ListedPair
    agreement: Agreement | None
    connection_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class PairList:
    """The matching pairs, and what is known of all that are visible."""

    matches: list[ListedPair]
    total: int
    # How many have a connection, and how many of these are agreed.
    connected: int
    agreed: int
    # How many end soon, and how many the actor owns.
    ending: int
    own: int
    # How many of the actor's have a connection and aren't refused, and those about which the actor
    # hasn't decided.
    answered: int
    to_accept: list[ListedPair]
    # Those that the actor refused, and can still accept.
    refused: list[ListedPair]
    # How many the part "Needs you" lists.
    needed: int
    # By name.
    orgs: list[KnownOrg]
    today: date


# What the list can be sorted by. Equal pairs stay sorted by source.
_SORT_KEYS: dict[str, Callable[[ListedPair], Any]] = {
    "reason": lambda listed: _reason_key(listed),
    "source": lambda listed: listed.source_org.name.casefold(),
    "destination": lambda listed: listed.sink_org.name.casefold(),
    "ends": lambda listed: listed.ends_on or _NO_END,
}
SORTS = (*_SORT_KEYS, "owner")


def list_pairs(*, actor: Actor, filters: PairFilter, sort: str = "reason") -> PairList:
    """The pairs that the actor can see. Raises PermissionDenied.

    `sort` is one of SORTS, after "-" for the opposite order. By reason, agreed pairs are sorted by
    their end, and agreements without a connection come last.
    """
    permissions.require(permissions.can_see(actor), "see agreements")
    today = clock.now().date()
    agreements = load_agreements(today=today)
    known, groups = _load_orgs()
    pairs = list(_listed_pairs(agreements, known, actor=actor))
    owners = _load_owners()
    is_ending = ends_within(DAYS_SOON, today=today)
    me = actor.person.pk.hex if actor.person else None
    connected = sum(not listed.is_gone for listed in pairs)
    own = (
        [listed for listed in pairs if listed.terms and me == listed.terms.owner_hex] if me else []
    )
    answered = [listed for listed in own if not listed.is_gone and not listed.is_refused]
    to_accept = [listed for listed in answered if listed.terms and listed.terms.awaits_owner]
    unsettled = [listed.pair for listed in pairs if listed.reasons or listed.is_refused]
    settable = can_set(actor=actor, pairs=unsettled)
    needed = {listed.pair for listed in to_accept} | settable
    matches = [listed for listed in pairs if not filters.needs_actor or listed.pair in needed]
    for is_match in _conditions(filters, owners=owners, groups=groups, today=today):
        matches = [listed for listed in matches if is_match(listed)]
    orgs = sort_orgs({org for listed in pairs for org in listed[:2]})
    _sort(matches, sort=sort, orgs=orgs, owners=owners)
    return PairList(
        matches=matches,
        total=len(pairs),
        connected=connected,
        agreed=connected - sum(bool(listed.reasons) for listed in pairs),
        ending=sum(is_ending(listed.ends_on) for listed in pairs),
        own=len(own),
        answered=len(answered),
        to_accept=to_accept,
        refused=[listed for listed in own if listed.is_refused],
        needed=len(needed),
        orgs=orgs,
        today=today,
    )


def load_pair_rows(pairs: Collection[ListedPair], *, actor: Actor) -> list[PairRow]:
    """Some of the pairs, in their order, as a page shows them."""
    keys = [listed.pair for listed in pairs]
    agreements, ids = find_agreements(keys), dict[_Key, UUID]()
    for batch in batched(keys, PAIRS_PER_QUERY):
        current = current_snapshots(actor=actor).filter(of_these_pairs(batch))
        ids |= {row[:3]: row[3] for row in current.values_list(*_PAIR, "connection_id")}
    return [
        PairRow(listed=listed, agreement=agreements.get(pair), connection_id=ids.get(pair))
        for pair, listed in zip(keys, pairs, strict=True)
    ]


def find_pair_rows(pairs: Sequence[OrgPair], *, actor: Actor, today: date) -> list[PairRow]:
    """These visible pairs, whether or not they have a connection or an agreement."""
    known, _ = _load_orgs()
    current, types_of = current_snapshots(actor=actor), dict[_Key, str]()
    for batch in batched(pairs, PAIRS_PER_QUERY):
        types_of |= _connected_pairs(current.filter(of_these_pairs(batch)))
    listed = [
        ListedPair(
            known.get((site, source)) or KnownOrg(site, source, ""),
            known.get((site, sink)) or KnownOrg(site, sink, ""),
            types_of.get((site, source, sink), ""),
            None,
            (),
        )
        for site, source, sink in pairs
    ]
    rows = load_pair_rows(listed, actor=actor)
    return [
        row
        if row.listed.is_gone
        else replace(
            row,
            listed=row.listed._replace(
                reasons=reasons_of(row.agreement, row.listed.types, today=today)
            ),
        )
        for row in rows
    ]


def find_pairs_of(connections: Collection[OrgConnectionKey], *, actor: Actor) -> list[OrgPair]:
    """The pair of each of these connections. Raises Http404 for one that the actor can't see."""
    snapshots = OrgConnectionSnapshot.objects.filter(
        connection_id__in=[key.connection_id for key in connections]
    )
    rows = visibility.visible(snapshots, actor=actor).order_by("last_seen_at", "id")
    pairs = {
        OrgConnectionKey(site=row[0], connection_id=row[3]): OrgPair(*row[:3])
        for row in rows.values_list(*_PAIR, "connection_id")
    }
    for key in connections:
        if key not in pairs:
            require_connection(key, actor=actor)
            raise Http404("Nothing has this ID.")
    return [pairs[key] for key in connections]


# --- Reading --------------------------------------------------------------------------------------


def _load_orgs() -> tuple[dict[tuple[str, str], KnownOrg], dict[tuple[str, str], str]]:
    """Every org, and its group, by site and ID."""
    rows = list(Org.objects.order_by().values_list("site", "org_id", "name", "group"))
    return {row[:2]: KnownOrg(*row[:3]) for row in rows}, {row[:2]: row[3] for row in rows}


def _load_owners() -> dict[str, _Owner]:
    """Everyone who ever owned a pair, by `UUID.hex`."""
    people = Person.objects.filter(Exists(Agreement.objects.filter(owner=OuterRef("pk"))))
    columns = people.values_list(HexId("id"), "username", "first_name", "last_name")
    return {
        key: _Owner(username, f"{first} {last}".strip() or username)
        for key, username, first, last in columns
    }


def _listed_pairs(
    agreements: Agreements, known: dict[tuple[str, str], KnownOrg], *, actor: Actor
) -> Iterator[ListedPair]:
    """Every pair that the actor can see, in any order."""

    @cache
    def org_of(site: str, org_id: str) -> KnownOrg:
        return known.get((site, org_id)) or KnownOrg(site, org_id, "")

    connected = _connected_pairs(current_snapshots(actor=actor))
    terms_of = agreements.by_pair
    for pair, types_text in connected.items():
        site, source, sink = pair
        yield ListedPair(
            org_of(site, source),
            org_of(site, sink),
            types_text,
            terms_of.get(pair),
            agreements.reasons(pair, types_text),
        )
    others = [OrgPair(*pair) for pair in terms_of if pair not in connected]
    for pair in visibility.visible_pairs(others, actor=actor) if others else ():
        site, source, sink = pair
        yield ListedPair(org_of(site, source), org_of(site, sink), "", terms_of[pair], ())


def _connected_pairs(current: QuerySet[OrgConnectionSnapshot]) -> dict[_Key, str]:
    """The data types of each pair in these snapshots, as a JSON array."""
    columns = (*_PAIR, AsText("connection_types"))
    types: dict[_Key, str] = {}
    differing: set[_Key] = set()
    for site, source, sink, text in current.values_list(*columns):
        pair = (site, source, sink)
        if types.setdefault(pair, text) != text:
            differing.add(pair)
    if not differing:
        return types
    merged = listed_types(current.filter(of_these_pairs(OrgPair(*pair) for pair in differing)))
    return types | {pair: json.dumps(listed) for pair, listed in merged.items()}


# --- Filters and order ----------------------------------------------------------------------------


def _conditions(
    filters: PairFilter,
    *,
    owners: Mapping[str, _Owner],
    groups: Mapping[tuple[str, str], str],
    today: date,
) -> Iterator[_Condition]:
    if filters.site:
        yield lambda listed: listed.source_org.site in filters.site
    if filters.org:
        orgs = {tuple(key.split("/", 1)) for key in filters.org}
        yield lambda listed: listed.source_org[:2] in orgs or listed.sink_org[:2] in orgs
    if filters.group:
        yield lambda listed: any(groups.get(org[:2]) in filters.group for org in listed[:2])
    if filters.reason:
        yield lambda listed: not set(filters.reason).isdisjoint(listed.reasons)
    if filters.owner:
        keys = {key for key, owner in owners.items() if owner.username in filters.owner}
        yield lambda listed: listed.terms and listed.terms.owner_hex in keys
    if filters.ends_within is not None:
        is_near = ends_within(filters.ends_within, today=today)
        yield lambda listed: is_near(listed.ends_on)
    if filters.text:
        yield _contains(filters.text, owners=owners)


def _contains(text: str, *, owners: Mapping[str, _Owner]) -> _Condition:
    """Whether each word is in the name or ID of an org, the owner, the purpose or the ticket."""
    source, rest = split_pair(text)
    words = rest.casefold().split()
    rows = newest_agreements().order_by().values_list(*_PAIR, "purpose", "ticket")
    texts = {row[:3]: row[3:] for row in rows}

    def contains(listed: ListedPair) -> bool:
        orgs = [listed.sink_org] if source is not None else listed[:2]
        names = [text for org in orgs for text in (org.name, org.org_id)]
        if listed.terms:
            names += [*owners.get(listed.terms.owner_hex or "", ()), listed.terms.owner_text]
            names += texts.get(listed.terms[:3], ())
        searched = "\n".join(names).casefold()
        return all(word in searched for word in words)

    return lambda listed: listed.source_org.matches(source or "") and contains(listed)


def _sort(
    pairs: list[ListedPair],
    *,
    sort: str,
    orgs: Sequence[KnownOrg],
    owners: Mapping[str, _Owner],
) -> None:
    """Sort by source and destination, then as in `list_pairs`."""
    # Comparing numbers is faster than comparing names.
    ranks, count = {org: rank for rank, org in enumerate(orgs)}, len(orgs)
    pairs.sort(key=lambda pair: ranks[pair.source_org] * count + ranks[pair.sink_org])
    column, is_descending = sort.removeprefix("-"), sort.startswith("-")
    keys = _SORT_KEYS | {"owner": lambda listed: _owner_key(listed, owners=owners)}
    if column != "source" or is_descending:
        pairs.sort(key=keys[column], reverse=is_descending)


def _reason_key(listed: ListedPair) -> tuple[int, str]:
    if listed.reasons:
        return _RANKS[listed.reasons[0]], ""
    return (_GONE, "") if listed.is_gone else (_AGREED, listed.ends_on or _NO_END)


def _owner_key(listed: ListedPair, *, owners: Mapping[str, _Owner]) -> tuple[bool, str]:
    if listed.terms is None:
        return True, ""
    owner = owners.get(listed.terms.owner_hex or "")
    return False, (listed.terms.owner_text or (owner.name if owner else "")).casefold()
