"""The orgs that Org Admin knows, and how well their connections are known."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.inventory.inventory import current_snapshots
from connections.inventory.matching import KnownOrg, sort_orgs
from connections.inventory.rate_limits import OrgKey
from connections.inventory.sync_schedule import next_sync_at
from connections.inventory.syncs import newest_complete_syncs, newest_syncs
from connections.models import Credential, OrgConnectionSnapshot, Sync

# An older complete sync says too little about what Datadog lists now.
LISTED_WITHIN = timedelta(hours=24)


class OrgCoverage(StrEnum):
    """Whether an org's connections are known from one of its own credentials."""

    LISTED = "listed"  # the newest sync of some credential is complete and from the last 24 hours
    FAILING = "failing"  # it has credentials in use, but none like that
    NO_CREDENTIAL = "no-credential"  # known only through other orgs


@dataclass(frozen=True, kw_only=True)
class OrgFilter:
    """Which orgs to show. An empty field filters nothing."""

    site: str = ""
    # A value of OrgCoverage.
    coverage: str = ""
    # Words in the name or the ID.
    text: str = ""

    def matches(self, summary: "OrgSummary") -> bool:
        """Whether an org matches every field."""
        return (
            self.site in {"", summary.org.site}
            and self.coverage in {"", summary.coverage}
            and (not self.text or summary.org.matches(self.text))
        )


@dataclass(frozen=True, kw_only=True)
class OrgSummary:
    """One org as a person can see it."""

    org: KnownOrg
    coverage: OrgCoverage
    # Its own credentials in use, by name.
    credentials: list[Credential]
    # The start of the newest complete sync by one of them.
    listed_at: datetime | None
    # How many connections have it as their destination, and as their source.
    connections_in: int
    connections_out: int

    @property
    def next_sync_at(self) -> datetime | None:
        """When its next automatic sync is due."""
        return next_sync_at(self.credentials)


ORG_SORT_KEYS: dict[str, Callable[[OrgSummary], Any]] = {
    "org": lambda summary: summary.org.sort_key,
    "site": lambda summary: summary.org.site,
    "coverage": lambda summary: list(OrgCoverage).index(summary.coverage),
    "listed": lambda summary: (summary.listed_at is not None, summary.listed_at),
    "out": lambda summary: summary.connections_out,
    "in": lambda summary: summary.connections_in,
}


class PairCount(NamedTuple):
    """How many connections lead from one org to another, as the newest syncs listed them."""

    site: str
    source_org_id: str
    sink_org_id: str
    connections: int


def count_pairs(*, actor: Actor) -> list[PairCount]:
    """Every pair of orgs with connections that the actor can see now."""
    pairs = current_snapshots(actor=actor).values_list("site", "source_org_id", "sink_org_id")
    counted = pairs.annotate(Count("connection_id", distinct=True))
    return [PairCount(*row) for row in counted]


def _count_by_org(side: str, *, actor: Actor, only: OrgKey | None) -> Counter[tuple[str, str]]:
    """How many connections each org has on this side, by site and ID. Leaves out other orgs."""
    orgs = current_snapshots(actor=actor).filter(_of_org(only, by=side)).values_list("site", side)
    counted = orgs.annotate(Count("connection_id", distinct=True))
    return Counter({(site, org_id): connections for site, org_id, connections in counted})


def find_connections(*, actor: Actor) -> QuerySet[OrgConnectionSnapshot, Any]:
    """The connections that the actor can see now, each once: for counting."""
    return current_snapshots(actor=actor).values("site", "connection_id").distinct()


def known_orgs_of_pairs(pairs: Iterable[PairCount], *, actor: Actor) -> list[KnownOrg]:
    """Both orgs of every pair, each org once, by name."""
    sides = _sides(pairs)
    return [org for org in _known_orgs(actor=actor, own=[], sides=sides) if org[:2] in sides]


def _sides(pairs: Iterable[PairCount]) -> set[tuple[str, str]]:
    """The site and ID of both orgs of every pair."""
    sides: set[tuple[str, str]] = set()
    for site, source, sink, _ in pairs:
        sides.add((site, source))
        sides.add((site, sink))
    return sides


def list_known_orgs(*, actor: Actor) -> list[KnownOrg]:
    """Every org that the actor knows from a complete sync, by name."""
    established = visibility.visible_orgs(actor=actor).order_by()
    rows = established.values_list("site", "org_id", "name")
    return sort_orgs(KnownOrg(*row) for row in rows)


def list_orgs(*, actor: Actor, sort: str = "org") -> list[OrgSummary]:
    """The orgs that the actor knows. Raises PermissionDenied.

    `sort` is one of ORG_SORT_KEYS, with a leading "-" for descending. Equal orgs are sorted by
    name.
    """
    permissions.require(permissions.can_see(actor), "see orgs")
    summaries = _summaries(actor=actor)
    summaries.sort(key=ORG_SORT_KEYS["org"])
    summaries.sort(key=ORG_SORT_KEYS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return summaries


def find_org(*, actor: Actor, site: str, org_id: str) -> OrgSummary | None:
    """The org. None if the actor doesn't know it. Raises PermissionDenied."""
    permissions.require(permissions.can_see(actor), "see orgs")
    return next(iter(_summaries(actor=actor, only=OrgKey(site=site, org_id=org_id))), None)


def _of_org(org: OrgKey | None, *, by: str = "org_id") -> Q:
    """The rows of this org, or all rows if it is None. `by` is the field of the org's ID."""
    return Q(**{"site": org.site, by: org.org_id}) if org else Q()


def _summaries(*, actor: Actor, only: OrgKey | None = None) -> list[OrgSummary]:
    now = clock.now()
    credentials_of_orgs = (
        Credential.objects.exclude(org_id="").filter(_of_org(only)).order_by("name")
    )
    own = list(visibility.visible(credentials_of_orgs, actor=actor, by="pk"))
    newest = newest_syncs(now=now)
    complete = newest_complete_syncs(newest, now=now)
    outgoing = _count_by_org("source_org_id", actor=actor, only=only)
    incoming = _count_by_org("sink_org_id", actor=actor, only=only)
    in_use: dict[tuple[str, str], list[Credential]] = {}
    for credential in own:
        if not credential.is_retired:
            in_use.setdefault((credential.site, credential.org_id), []).append(credential)
    summaries = []
    sides = outgoing.keys() | incoming.keys()
    for org in _known_orgs(actor=actor, own=own, sides=sides, only=only):
        credentials = in_use.get(org[:2], [])
        last = [
            complete[credential.pk].started_at
            for credential in credentials
            if credential.pk in complete
        ]
        summaries.append(
            OrgSummary(
                org=org,
                coverage=_coverage(
                    [newest.get(credential.pk) for credential in credentials], now=now
                ),
                credentials=credentials,
                listed_at=max(last, default=None),
                connections_in=incoming[org[:2]],
                connections_out=outgoing[org[:2]],
            )
        )
    return summaries


def _coverage(syncs: list[Sync | None], *, now: datetime) -> OrgCoverage:
    """An org's coverage, from the newest sync of each of its credentials in use."""
    if not syncs:
        return OrgCoverage.NO_CREDENTIAL
    is_listed = any(
        sync.is_complete and clock.elapsed_since(sync.started_at, now=now) <= LISTED_WITHIN
        for sync in syncs
        if sync
    )
    return OrgCoverage.LISTED if is_listed else OrgCoverage.FAILING


def _known_orgs(
    *,
    actor: Actor,
    own: Iterable[Credential],
    sides: set[tuple[str, str]],
    only: OrgKey | None = None,
) -> list[KnownOrg]:
    """The known orgs by name. Site and ID identify an org, never its name."""
    names = {(credential.site, credential.org_id): credential.org_name for credential in own}
    established = visibility.visible_orgs(actor=actor).filter(_of_org(only)).order_by()
    for site, org_id, name in established.values_list("site", "org_id", "name"):
        names[site, org_id] = name or names.get((site, org_id), "")
    unnamed = sides - names.keys()
    if unnamed:
        names |= _names_in_snapshots(unnamed, actor=actor)
    return sort_orgs(KnownOrg(*identity, name) for identity, name in names.items())


def _names_in_snapshots(orgs: set[tuple[str, str]], *, actor: Actor) -> dict[tuple[str, str], str]:
    """The newest names of orgs that only incomplete syncs listed."""
    ids = {org_id for _, org_id in orgs}
    snapshots = OrgConnectionSnapshot.objects.filter(
        Q(source_org_id__in=ids) | Q(sink_org_id__in=ids), is_current=True
    )
    snapshots = visibility.visible(snapshots, actor=actor).order_by("last_seen_at", "id")
    names = dict.fromkeys(orgs, "")
    for snapshot in snapshots.values_list(
        "site", "source_org_id", "source_org_name", "sink_org_id", "sink_org_name"
    ):
        site, source_id, source_name, sink_id, sink_name = snapshot
        for org_id, name in ((source_id, source_name), (sink_id, sink_name)):
            if (site, org_id) in names:
                names[site, org_id] = name
    return names
