"""Whether a connection is agreed, and if not, why. Computed, never stored."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple

from django.db.models import Case, Q, QuerySet, TextChoices, When

from connections.models import (
    AWAITS_OWNER,
    IS_REFUSED,
    Agreement,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    newest_agreements,
    of_these_pairs,
)
from connections.models.text_columns import AsText, HexId, parse_types

EVERY = Q()
# The owner's account is disabled, and no owner text replaces it.
OWNER_LEFT = Q(owner__in=Person.objects.filter(is_active=False).order_by(), owner_text="")
# Pairs in one query, whose conditions would otherwise be too many for SQLite.
PAIRS_PER_QUERY = 200
_WITH = ("owner", "set_by", "owner_decision")


class NotAgreed(TextChoices):
    """Why a current connection isn't agreed."""

    NO_AGREEMENT = "no_agreement", "No agreement"
    # The owner's account is disabled, and no owner text replaces it.
    OWNER_LEFT = "owner_left", "Owner left"
    WIDER = "wider", "Wider than agreed"  # it shares a data type that the agreement lacks
    ENDED = "ended"  # the last day of the agreement has passed


class AgreedTerms(NamedTuple):
    """The newest version of an agreement as filters and sorting need it, without a model object.

    ID, date and data types are text.
    """

    site: str
    source_org_id: str
    sink_org_id: str
    # `UUID.hex`, or None.
    owner_hex: str | None
    owner_text: str
    # Whether the owner's account is disabled, and no owner text replaces it.
    has_left: bool
    # "2026-12-31", or None.
    ends_on: str | None
    # A JSON array.
    types_text: str
    version: int
    # Whether the owner has neither accepted nor refused it.
    awaits_owner: bool
    # Whether the owner says that it isn't theirs.
    is_refused: bool

    @property
    def last_day(self) -> str:
        """The last day, as "2026-12-31". "" without an end."""
        # SQLite's driver makes a date of it.
        return str(self.ends_on or "")


@dataclass(frozen=True, kw_only=True)
class Agreements:
    """The newest version of every agreement, also of pairs that someone can't see."""

    by_pair: dict[tuple[str, str, str], AgreedTerms]
    today: date

    def reasons(self, pair: tuple[str, str, str], types_text: str) -> tuple[NotAgreed, ...]:
        """Why a connection of this pair with these data types, a JSON array, isn't agreed."""
        terms = self.by_pair.get(pair)
        if terms is None:
            return (NotAgreed.NO_AGREEMENT,)
        return reasons_when(
            has_left=bool(terms.has_left),
            is_wider=not _types(types_text) <= _types(terms.types_text),
            has_ended="" < terms.last_day < self.today.isoformat(),
        )

    def owner_of(self, pair: tuple[str, str, str]) -> str:
        """The owner's ID as `UUID.hex`. "" without an agreement or an owner with an account."""
        terms = self.by_pair.get(pair)
        return (terms and terms.owner_hex) or ""

    def ends_on(self, pair: tuple[str, str, str]) -> str:
        """The agreement's last day, as "2026-12-31". "" without an agreement or an end."""
        terms = self.by_pair.get(pair)
        return terms.last_day if terms else ""


def ends_within(days: int, *, today: date) -> Callable[[str], bool]:
    """Whether a last day, as "2026-12-31" or "", is today or within so many days."""
    first, last = today.isoformat(), (today + timedelta(days=days)).isoformat()
    return lambda last_day: first <= last_day <= last


@lru_cache(maxsize=1000)
def _types(text: str) -> frozenset[str]:
    return frozenset(parse_types(text))


def load_agreements(*, today: date, within: Q = EVERY) -> Agreements:
    """Read the newest version of every agreement `within`. `today` is the date in UTC."""
    rows = (
        newest_agreements()
        .filter(within)
        .order_by()
        .values_list(
            *("site", "source_org_id", "sink_org_id", HexId("owner_id"), "owner_text"),
            Case(When(OWNER_LEFT, then=True), default=False),
            *(AsText("ends_on"), AsText("connection_types"), "version"),
            Case(When(AWAITS_OWNER, then=True), default=False),
            Case(When(IS_REFUSED, then=True), default=False),
        )
    )
    return Agreements(by_pair={row[:3]: AgreedTerms(*row) for row in rows}, today=today)


def find_agreement_at(pair: OrgPair, *, version: int | None, at: datetime) -> Agreement | None:
    """This version of a pair's agreement or, if that is None, the newest from before this time."""
    if version == 0:
        return None
    versions = list_versions(pair)
    is_it = Q(set_at__lt=at) if version is None else Q(version=version)
    return versions.filter(is_it).first()


def find_agreements(pairs: Collection[OrgPair]) -> dict[OrgPair, Agreement]:
    """The newest version of the agreement of each of these pairs that has one, with its owner."""
    agreements: dict[OrgPair, Agreement] = {}
    wanted = list(set(pairs))
    for start in range(0, len(wanted), PAIRS_PER_QUERY):
        of_pairs = of_these_pairs(wanted[start : start + PAIRS_PER_QUERY])
        rows = newest_agreements().filter(of_pairs).select_related(*_WITH)
        agreements |= {row.pair: row for row in rows}
    return agreements


def find_version(pair: OrgPair) -> int:
    """The newest version of a pair's agreement. 0 without one."""
    return list_versions(pair).values_list("version", flat=True).first() or 0


def listed_types(current: QuerySet[OrgConnectionSnapshot]) -> dict[OrgPair, list[str]]:
    """The data types, sorted, that each pair's connections share in these current snapshots.

    If several credentials list a connection, the newest snapshot counts.
    """
    newest = {
        snapshot.key: (
            OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id),
            snapshot.connection_types,
        )
        for snapshot in current.order_by("last_seen_at", "id")
    }
    types_by_pair: dict[OrgPair, set[str]] = {}
    for pair, types in newest.values():
        types_by_pair.setdefault(pair, set()).update(types)
    return {pair: sorted(types) for pair, types in types_by_pair.items()}


def list_versions(pair: OrgPair) -> QuerySet[Agreement]:
    """Every version of a pair's agreement, newest first."""
    versions = Agreement.objects.filter(
        site=pair.site, source_org_id=pair.source_org_id, sink_org_id=pair.sink_org_id
    )
    return versions.select_related(*_WITH).order_by("-version")


def has_owner_left(agreement: Agreement) -> bool:
    """Whether its owner's account is disabled, and no owner text replaces it."""
    owner = agreement.owner
    return owner is not None and not owner.is_active and not agreement.owner_text


def reasons_of(
    agreement: Agreement | None, connection_types: Collection[str], *, today: date
) -> tuple[NotAgreed, ...]:
    """Why a connection with these data types isn't agreed, as `Agreements.reasons`."""
    if agreement is None:
        return (NotAgreed.NO_AGREEMENT,)
    return reasons_when(
        has_left=has_owner_left(agreement),
        is_wider=not set(connection_types) <= set(agreement.connection_types),
        has_ended=agreement.has_ended(today=today),
    )


@cache
def reasons_when(*, has_left: bool, is_wider: bool, has_ended: bool) -> tuple[NotAgreed, ...]:
    """The reasons that hold about a connection with an agreement, in the order of NotAgreed."""
    is_so = {
        NotAgreed.OWNER_LEFT: has_left,
        NotAgreed.WIDER: is_wider,
        NotAgreed.ENDED: has_ended,
    }
    return tuple(reason for reason in is_so if is_so[reason])
