"""The orgs that Org Admin knows, and how well their connections are known."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any

from django.db.models import Count, Q, QuerySet

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.core.sites import site_name
from connections.inventory.inventory import current_snapshots
from connections.inventory.matching import KnownOrg, contains_words, sort_orgs
from connections.inventory.rate_limits import OrgKey
from connections.inventory.sync_schedule import next_sync_at
from connections.inventory.syncs import newest_complete_syncs, newest_syncs
from connections.models import Credential, Org, OrgConnectionSnapshot, Person, Sync

# An older complete sync says too little about what Datadog lists now.
LISTED_WITHIN = timedelta(hours=24)


class OrgCoverage(StrEnum):
    """Whether an org's connections are known from one of its own credentials."""

    LISTED = "listed"  # the newest sync of some credential is complete and from the last 24 hours
    FAILING = "failing"  # it has credentials in use, but none like that
    NO_CREDENTIAL = "no-credential"  # known only through other orgs


class OrgPart(StrEnum):
    """What orgs need. The first three, in this order, come first in the list."""

    FAILING = "failing"  # its coverage is failing, or one of its credentials is
    READ_ONLY = "read-only"  # a credential's role lacks the permission to delete
    NO_CREDENTIAL = "no-credential"
    OLD_KEYS = "old-keys"  # a credential is due for rotation


_FIRST = (OrgPart.FAILING, OrgPart.READ_ONLY, OrgPart.NO_CREDENTIAL)


@dataclass(frozen=True, kw_only=True)
class OrgSummary:
    """One org as a person can see it.

    Without an org ID, it stands for a credential whose org isn't known yet.
    """

    org: KnownOrg
    coverage: OrgCoverage
    parts: frozenset[OrgPart]
    # Its own credentials in use, by name.
    credentials: list[Credential]
    # The start of the newest complete sync by one of them.
    listed_at: datetime | None
    # How many connections have it as their destination, and as their source.
    connections_in: int
    connections_out: int
    # "" if it has none.
    group: str = ""
    owner: Person | None = None

    def matches(self, *, site: str, group: str, text: str) -> bool:
        """Whether it is on the site, in the group, and its name, ID, site or credentials have each
        word.

        An empty argument matches every org.
        """
        names = [credential.name for credential in self.credentials]
        searched = "\n".join([*self.org, site_name(self.org.site), *names])
        is_chosen = site in {"", self.org.site} and group in {"", self.group}
        return is_chosen and contains_words(searched, text)

    @property
    def keys_set_at(self) -> datetime | None:
        """When the oldest keys of its credentials were stored."""
        return min((credential.keys_set_at for credential in self.credentials), default=None)

    @property
    def next_sync_at(self) -> datetime | None:
        """When its next automatic sync is due."""
        return next_sync_at(self.credentials)


ORG_SORT_KEYS: dict[str, Callable[[OrgSummary], Any]] = {
    "org": lambda summary: summary.org.sort_key,
    "site": lambda summary: summary.org.site,
    "group": lambda summary: summary.group.casefold(),
    "owner": lambda summary: summary.owner.display_name.casefold() if summary.owner else "",
    "credential": lambda summary: next(
        (rank for rank, part in enumerate(_FIRST) if part in summary.parts), len(_FIRST)
    ),
    # The youngest keys first.
    "age": lambda summary: -summary.keys_set_at.timestamp() if summary.keys_set_at else -math.inf,
    "listed": lambda summary: (summary.listed_at is not None, summary.listed_at),
    "out": lambda summary: summary.connections_out,
    "in": lambda summary: summary.connections_in,
}


def _count_by_org(side: str, *, actor: Actor, only: OrgKey | None) -> Counter[tuple[str, str]]:
    """How many connections each org has on this side, by site and ID. Leaves out other orgs."""
    orgs = current_snapshots(actor=actor).filter(_of_org(only, by=side)).values_list("site", side)
    counted = orgs.annotate(Count("connection_id", distinct=True))
    return Counter({(site, org_id): connections for site, org_id, connections in counted})


def find_connections(*, actor: Actor) -> QuerySet[OrgConnectionSnapshot, Any]:
    """The connections that the actor can see now, each once: for counting."""
    return current_snapshots(actor=actor).values("site", "connection_id").distinct()


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
    return [org for org in list_orgs_and_retired(actor=actor, sort=sort)[0] if org.org.org_id]


def list_orgs_and_retired(*, actor: Actor, sort: str) -> tuple[list[OrgSummary], list[Credential]]:
    """The orgs, also those that stand for a credential, and the retired credentials, newest first.

    `sort` is that of `list_orgs`. Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see orgs")
    credentials = _visible_credentials(actor=actor)
    summaries = _summaries(actor=actor, credentials=credentials)
    summaries.sort(key=ORG_SORT_KEYS["org"])
    summaries.sort(key=ORG_SORT_KEYS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    retired = [(each.retired_at, each) for each in credentials if each.retired_at]
    return summaries, [each for _, each in sorted(retired, key=itemgetter(0), reverse=True)]


def find_org(*, actor: Actor, site: str, org_id: str) -> OrgSummary | None:
    """The org. None if the actor doesn't know it. Raises PermissionDenied."""
    permissions.require(permissions.can_see(actor), "see orgs")
    only = OrgKey(site=site, org_id=org_id)
    credentials = _visible_credentials(actor=actor, only=only)
    return next(iter(_summaries(actor=actor, credentials=credentials, only=only)), None)


def _of_org(org: OrgKey | None, *, by: str = "org_id") -> Q:
    """The rows of this org, or all rows if it is None. `by` is the field of the org's ID."""
    return Q(**{"site": org.site, by: org.org_id}) if org else Q()


def _visible_credentials(*, actor: Actor, only: OrgKey | None = None) -> list[Credential]:
    credentials = Credential.objects.filter(_of_org(only)).order_by("name")
    return list(visibility.visible(credentials, actor=actor, by="pk"))


def _summaries(
    *, actor: Actor, credentials: list[Credential], only: OrgKey | None = None
) -> list[OrgSummary]:
    now = clock.now()
    own = [credential for credential in credentials if credential.org_id]
    newest = newest_syncs()
    complete = newest_complete_syncs(newest)
    outgoing = _count_by_org("source_org_id", actor=actor, only=only)
    incoming = _count_by_org("sink_org_id", actor=actor, only=only)
    in_use: dict[tuple[str, str], list[Credential]] = {}
    for credential in own:
        if not credential.is_retired:
            in_use.setdefault((credential.site, credential.org_id), []).append(credential)
    summaries = [
        _unidentified(credential, now=now)
        for credential in credentials
        if not credential.org_id and not credential.is_retired
    ]
    sides = outgoing.keys() | incoming.keys()
    known = _of_org_rows(actor=actor, only=only)
    for org in _known_orgs(actor=actor, own=own, sides=sides, known=known):
        of_org = in_use.get(org[:2], [])
        last = [complete[each.pk].started_at for each in of_org if each.pk in complete]
        coverage = _coverage([newest.get(each.pk) for each in of_org], now=now)
        summaries.append(
            OrgSummary(
                org=org,
                coverage=coverage,
                parts=_parts(coverage, of_org, now=now),
                credentials=of_org,
                listed_at=max(last, default=None),
                connections_in=incoming[org[:2]],
                connections_out=outgoing[org[:2]],
                **_details(known.get(org[:2])),
            )
        )
    return summaries


def _unidentified(credential: Credential, *, now: datetime) -> OrgSummary:
    """A credential whose org isn't known yet, as an org with the credential's name."""
    coverage = OrgCoverage.FAILING
    return OrgSummary(
        org=KnownOrg(credential.site, "", credential.name),
        coverage=coverage,
        parts=_parts(coverage, [credential], now=now),
        credentials=[credential],
        listed_at=None,
        connections_in=0,
        connections_out=0,
    )


def _parts(
    coverage: OrgCoverage, credentials: list[Credential], *, now: datetime
) -> frozenset[OrgPart]:
    is_failing = any(credential.is_failing for credential in credentials)
    belongs = {
        OrgPart.FAILING: is_failing or coverage is OrgCoverage.FAILING,
        OrgPart.READ_ONLY: any(credential.is_read_only for credential in credentials),
        OrgPart.NO_CREDENTIAL: not credentials,
        OrgPart.OLD_KEYS: any(credential.has_old_keys(now=now) for credential in credentials),
    }
    return frozenset(part for part in OrgPart if belongs[part])


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


def _of_org_rows(*, actor: Actor, only: OrgKey | None) -> dict[tuple[str, str], Org]:
    rows = visibility.visible_orgs(actor=actor).filter(_of_org(only)).order_by()
    return {(org.site, org.org_id): org for org in rows.select_related("owner")}


def _details(org: Org | None) -> dict[str, Any]:
    return {"group": org.group, "owner": org.owner} if org else {}


def _known_orgs(
    *,
    actor: Actor,
    own: Iterable[Credential],
    sides: set[tuple[str, str]],
    known: Mapping[tuple[str, str], Org],
) -> list[KnownOrg]:
    """The known orgs by name. Site and ID identify an org, never its name."""
    names = {(credential.site, credential.org_id): credential.org_name for credential in own}
    for key, org in known.items():
        names[key] = org.name or names.get(key, "")
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
