"""Which connections a filter matches."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from connections.agreements.agreed import Agreements, ends_within
from connections.core.sites import site_name
from connections.models.text_columns import HexKey, parse_types


class KnownOrg(NamedTuple):
    """A Datadog org. Two orgs can have the same name, even on one site."""

    site: str
    org_id: str
    name: str

    @property
    def key(self) -> str:
        """The org in filters and addresses: "<site>/<org id>"."""
        return f"{self.site}/{self.org_id}"

    @property
    def sort_key(self) -> tuple[str, str, str]:
        """Sorts orgs by name."""
        return self.name.casefold(), self.site, self.org_id

    def matches(self, text: str) -> bool:
        """Whether each word of the text appears in the name or the ID."""
        return contains_words(f"{self.name}\n{self.org_id}", text)


class ListedConnection(NamedTuple):
    """The part of a connection that filters and sorting need, without a model object for each.

    IDs, times and data types are text, as `rows` explains.
    """

    site: str
    hex_id: str
    snapshot_id: int
    # The org whose data is shared. Its connections have one object in common.
    source_org: KnownOrg
    # The org that queries the data.
    sink_org: KnownOrg
    # A JSON array.
    types_text: str
    creator_name: str | None = None
    # Each of these is read only if filters or sorting need it; otherwise None.
    created_at: str | None = None
    creator_is_disabled: bool | None = None

    @property
    def key(self) -> HexKey:
        """Identifies the connection by site and ID."""
        return self[:2]

    @property
    def pair(self) -> tuple[str, str, str]:
        """The site and the IDs of both orgs, as in an OrgPair."""
        return self.site, self.source_org.org_id, self.sink_org.org_id

    @property
    def connection_id(self) -> UUID:
        """Datadog's ID of the connection."""
        return UUID(self.hex_id)

    @property
    def types(self) -> list[str]:
        """The data types."""
        return parse_types(self.types_text)

    def contains_words(self, words: Iterable[str], *, with_source: bool = True) -> bool:
        """Whether each of these case-folded words appears in a name, the ID or a data type.

        Or is the site. The name of the source org counts only `with_source`.
        """
        source = self.source_org.name if with_source else ""
        names = (source, self.sink_org.name, self.creator_name or "", *self.types)
        searched = "\n".join(names).casefold()
        return all(
            word in searched or word in _words_of(self.site) or self._has_in_id(word)
            for word in words
        )

    def _has_in_id(self, word: str) -> bool:
        # Rarely true, and faster than writing the ID with hyphens.
        return word.replace("-", "") in self.hex_id and word in str(self.connection_id)


# Not its parts: "data" would find every connection on datadoghq.com.
@lru_cache
def _words_of(site: str) -> frozenset[str]:
    """What finds the connections of a site."""
    return frozenset((site.casefold(), *site_name(site).casefold().split()))


# A filter checks the same few orgs for each of their connections.
@lru_cache(maxsize=1000)
def contains_words(searched: str, text: str) -> bool:
    """Whether each word of the text appears in one of the searched texts, ignoring case."""
    folded = searched.casefold()
    return all(word in folded for word in text.casefold().split())


def split_pair(text: str) -> tuple[str | None, str]:
    """What a search has before an arrow, or None without one, and the rest."""
    source, arrow, rest = text.replace("->", "→").rpartition("→")
    return source if arrow else None, rest


def sort_orgs(orgs: Iterable[KnownOrg]) -> list[KnownOrg]:
    """The orgs by name."""
    return sorted(orgs, key=lambda org: org.sort_key)


class Flag(StrEnum):
    """Why a connection needs a look."""

    CREATOR_DISABLED = "creator-disabled"  # the account of its creator is disabled
    AUDIT = "audit"  # it shares audit events
    OUT_OF_DATE = "out-of-date"  # the newest syncs of all its credentials failed
    CHANGE = "change"  # a change of it needs attention and isn't acknowledged


@dataclass(frozen=True, kw_only=True)
class FilterFacts:
    """What a filter must know beside the connections: their keys, by fact, if it uses the fact."""

    protected: Container[HexKey] = ()
    # In the days that the filter names.
    changed: Container[HexKey] = ()
    reviewed: Container[HexKey] = ()
    # With a change that isn't acknowledged.
    unacknowledged: Container[HexKey] = ()
    # Listed by a credential whose newest sync is complete.
    up_to_date: Container[HexKey] = ()
    # As the database's text.
    created_since: str = ""
    # Orgs of the groups that the filter names, by site and ID.
    orgs_of_groups: Container[tuple[str, str]] = ()
    # None if neither the filter nor the order uses them.
    agreements: Agreements | None = None
    # The people that the filter names, as `UUID.hex`.
    owners: Container[str] = ()

    def has_flag(self, listed: ListedConnection, *, flag: str) -> bool:
        """Whether the connection needs a look for this reason."""
        match flag:
            case Flag.CREATOR_DISABLED:
                return bool(listed.creator_is_disabled)
            case Flag.AUDIT:
                return "audit" in listed.types
            case Flag.OUT_OF_DATE:
                return listed.key not in self.up_to_date
        return listed.key in self.unacknowledged


type _Condition = Callable[[ListedConnection], bool]


@dataclass(frozen=True, kw_only=True)
class InventoryFilter:
    """Which connections to show. An empty field filters nothing; of several values, any counts."""

    site: Collection[str] = ()
    # "<site>/<org id>" of the source or the destination org.
    org: Collection[str] = ()
    connection_type: Collection[str] = ()
    # Names of creators; "disabled" for those whose account is disabled.
    creator: Collection[str] = ()
    flag: Collection[str] = ()
    # "<n>": in the last n days. "over-<n>": more than n days ago.
    created: str = ""
    # "never", or "<n>": no access review decided on it in the last n days.
    reviewed: str = ""
    # "yes" or "no".
    protected: str = ""
    # Only connections that changed in the last this many days: a number.
    changed: str = ""
    # "yes" or "no".
    agreed: str = ""
    # Usernames of the agreement's owner.
    owner: Collection[str] = ()
    # Groups of the source or the destination org.
    group: Collection[str] = ()
    # Only connections whose agreement ends in this many days: a number.
    ends_within: str = ""
    # Words in the org's name or ID.
    source: str = ""
    destination: str = ""
    # Words; before an arrow, those of the source org.
    text: str = ""

    @property
    def is_relative(self) -> bool:
        """Whether other connections match as time passes."""
        times = (self.created, self.changed, self.agreed, self.ends_within)
        return any(times) or self.reviewed.isdigit()

    @property
    def needs_agreements(self) -> bool:
        """Whether FilterFacts must have the agreements."""
        return bool(self.agreed or self.owner or self.ends_within)

    def select(
        self, connections: Iterable[ListedConnection], *, facts: FilterFacts
    ) -> list[ListedConnection]:
        """The connections that match every field."""
        matches = list(connections)
        conditions = chain(self._conditions(), self._conditions_with(facts))
        for is_match in chain(conditions, self._conditions_on(facts.agreements, facts=facts)):
            matches = [listed for listed in matches if is_match(listed)]
        return matches

    def _conditions(self) -> Iterator[_Condition]:
        if self.site:
            yield lambda listed: listed.site in self.site
        if self.org:
            orgs = {tuple(key.split("/", 1)) for key in self.org}
            yield lambda listed: listed.source_org[:2] in orgs or listed.sink_org[:2] in orgs
        if self.connection_type:
            types = frozenset(self.connection_type)
            yield lambda listed: not types.isdisjoint(listed.types)
        if self.creator:
            yield (
                lambda listed: (
                    listed.creator_name in self.creator
                    or ("disabled" in self.creator and bool(listed.creator_is_disabled))
                )
            )
        if self.source:
            yield lambda listed: listed.source_org.matches(self.source)
        if self.destination:
            yield lambda listed: listed.sink_org.matches(self.destination)
        if self.text:
            source, text = split_pair(self.text)
            words = text.casefold().split()
            yield (
                lambda listed: (
                    listed.source_org.matches(source or "")
                    and listed.contains_words(words, with_source=source is None)
                )
            )

    def _conditions_with(self, facts: FilterFacts) -> Iterator[_Condition]:
        if self.flag:
            yield lambda listed: any(facts.has_flag(listed, flag=flag) for flag in self.flag)
        if self.created:
            is_before = self.created.startswith("over-")
            yield (
                lambda listed: (
                    listed.created_at is not None
                    # SQLite's driver makes a datetime of it.
                    and (str(listed.created_at) < facts.created_since) == is_before
                )
            )
        if self.reviewed:
            yield lambda listed: listed.key not in facts.reviewed
        if self.protected:
            is_protected = self.protected == "yes"
            yield lambda listed: (listed.key in facts.protected) == is_protected
        if self.changed:
            yield lambda listed: listed.key in facts.changed
        if self.group:
            orgs = facts.orgs_of_groups
            yield lambda listed: listed.source_org[:2] in orgs or listed.sink_org[:2] in orgs

    def _conditions_on(
        self, agreements: Agreements | None, *, facts: FilterFacts
    ) -> Iterator[_Condition]:
        if agreements is None:
            return
        if self.agreed:
            is_agreed = self.agreed == "yes"
            reasons = agreements.reasons
            yield lambda listed: (not reasons(listed.pair, listed.types_text)) == is_agreed
        if self.owner:
            yield lambda listed: agreements.owner_of(listed.pair) in facts.owners
        if self.ends_within:
            is_near = ends_within(int(self.ends_within), today=agreements.today)
            yield lambda listed: is_near(agreements.ends_on(listed.pair))
