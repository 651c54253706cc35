"""The connections of one site as a matrix: source orgs down, destination orgs across."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db.models import Q

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.inventory.inventory import (
    InventoryFilter,
    KnownOrg,
    ListedConnection,
    build_inventory,
    fetch_stored,
)
from connections.inventory.orgs import count_pairs, known_orgs_of_pairs
from connections.models import Change, OrgConnectionKey, OrgConnectionSnapshot

# Sources and destinations that one page shows.
MAX_ORGS = 100
RECENT = timedelta(days=7)


@dataclass(kw_only=True)
class Cell:
    """The connections from one org to another."""

    types: set[str]
    count: int = 0
    # Whether one of them changed in the last 7 days.
    is_changed: bool = False


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The matching connections of one site. Orgs without one are left out."""

    site: str
    # Connections by site, the site with the most first. Counted before the filters.
    sites: dict[str, int]
    # By name.
    sources: list[KnownOrg]
    destinations: list[KnownOrg]
    # By the IDs of both orgs; empty where there are too many orgs to show.
    cells: dict[tuple[str, str], Cell]
    outgoing: Counter[str]
    incoming: Counter[str]
    matches: int
    # The site's orgs and data types, for the filters.
    orgs: list[KnownOrg]
    connection_types: list[str]

    @property
    def is_too_large(self) -> bool:
        """Whether it has more orgs than a page shows."""
        return max(len(self.sources), len(self.destinations)) > MAX_ORGS


def build_matrix(*, actor: Actor, filters: InventoryFilter) -> Matrix:
    """The matrix of the site that is filtered by, or of the one with the most connections.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see org connections")
    pairs = count_pairs(actor=actor)
    sites: Counter[str] = Counter()
    for pair in pairs:
        sites[pair.site] += pair.connections
    ordered = dict(sorted(sites.items(), key=lambda each: (-each[1], each[0])))
    site = filters.site or filters.org.partition("/")[0] or next(iter(ordered), "")
    here = [pair for pair in pairs if pair.site == site]
    orgs = known_orgs_of_pairs(here, actor=actor)
    inventory = build_inventory(
        actor=actor,
        # `within` has the other two.
        filters=replace(filters, source="", destination=""),
        within=_within(filters, site=site, orgs=orgs),
    )
    shown = inventory.matches
    outgoing = Counter(each.source_org_id for each in shown)
    incoming = Counter(each.sink_org_id for each in shown)
    sources = [org for org in orgs if org.org_id in outgoing]
    destinations = [org for org in orgs if org.org_id in incoming]
    matrix = Matrix(
        site=site,
        sites=ordered,
        sources=sources,
        destinations=destinations,
        cells={},
        outgoing=outgoing,
        incoming=incoming,
        matches=len(shown),
        orgs=orgs,
        connection_types=inventory.connection_types,
    )
    if not matrix.is_too_large:
        matrix.cells.update(_cells(shown, changed=_changed_recently(site)))
    return matrix


def _within(filters: InventoryFilter, *, site: str, orgs: list[KnownOrg]) -> Q:
    """The snapshots to read: those of one site, of the orgs whose names match the filters."""
    within = Q(site=site)
    for text, column in (
        (filters.source, "source_org_id"),
        (filters.destination, "sink_org_id"),
    ):
        if text:
            ids = [org.org_id for org in orgs if org.matches(text)]
            within &= Q(**{f"{column}__in": ids})
    return within


def _cells(
    connections: Iterable[ListedConnection], *, changed: set[Any]
) -> dict[tuple[str, str], Cell]:
    cells: dict[tuple[str, str], Cell] = {}
    for each in connections:
        cell = cells.setdefault((each.source_org_id, each.sink_org_id), Cell(types=set()))
        cell.types.update(each.types)
        cell.count += 1
        cell.is_changed = cell.is_changed or each.stored_id in changed
    return cells


def _changed_recently(site: str) -> set[Any]:
    """The stored IDs of the site's connections that changed in the last 7 days."""
    # Without DISTINCT, for which SQLite would read the changes of all times.
    changes = Change.objects.filter(site=site, detected_at__gte=clock.now() - RECENT).order_by()
    return {stored_id for (stored_id,) in fetch_stored(changes.values_list("connection_id"))}


def list_connections_between(
    *, actor: Actor, site: str, source_org_id: str, sink_org_id: str
) -> list[OrgConnectionKey]:
    """The connections from one org to another that the newest syncs listed.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_see(actor), "see org connections")
    current = OrgConnectionSnapshot.objects.filter(
        is_current=True,
        credential__retired_at=None,
        site=site,
        source_org_id=source_org_id,
        sink_org_id=sink_org_id,
    )
    ids = visibility.visible(current, actor=actor).order_by().values_list("connection_id")
    return [OrgConnectionKey(site=site, connection_id=found) for (found,) in ids.distinct()]
