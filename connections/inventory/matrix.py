"""The connections of one site as a matrix: source orgs down, destination orgs across."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain

from connections.access import visibility
from connections.access.actor import Actor
from connections.agreements.agreed import Agreements, NotAgreed
from connections.inventory.inventory import Inventory, build_inventory
from connections.inventory.matching import InventoryFilter, KnownOrg, ListedConnection
from connections.models import Change, Deletion
from connections.models.text_columns import HexId

# How many sources and destinations one page shows.
MAX_ORGS = 100
RECENT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class LastChange:
    """The newest change of a cell, and the related deletion if the reader can see it."""

    change: Change
    deletion: Deletion | None


@dataclass(kw_only=True)
class Cell:
    """The connections from one org to another."""

    types: set[str]
    # The names of their creators, if known.
    creators: set[str]
    count: int = 0
    # Why its connections aren't agreed, once there is an agreement about one of the site.
    reasons: set[NotAgreed] = field(default_factory=set)
    # In the last 7 days.
    last_change: LastChange | None = None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The matching connections of one site. Leaves out orgs without a matching connection."""

    site: str
    # How many connections each site has, largest first. Counted before filtering.
    sites: dict[str, int]
    # By name.
    sources: list[KnownOrg]
    destinations: list[KnownOrg]
    # By the IDs of both orgs. Empty if there are too many orgs to show.
    cells: dict[tuple[str, str], Cell]
    outgoing: Counter[str]
    incoming: Counter[str]
    matches: int
    # The site's orgs, by name.
    orgs: list[KnownOrg]
    # The connections of all sites.
    inventory: Inventory

    @property
    def is_too_large(self) -> bool:
        """Whether it has more orgs than a page shows."""
        return max(len(self.sources), len(self.destinations)) > MAX_ORGS


def build_matrix(*, actor: Actor, filters: InventoryFilter) -> Matrix:
    """The matrix of the filtered site or, without such a filter, of the site with most connections.

    Raises PermissionDenied.
    """
    inventory = build_inventory(
        actor=actor, filters=replace(filters, site=()), with_agreements=True
    )
    sites = dict(sorted(inventory.sites.items(), key=lambda item: (-item[1], item[0])))
    sites_of_orgs = (org.partition("/")[0] for org in filters.org)
    site = next(chain(filters.site, sites_of_orgs, sites), "")
    matches = [connection for connection in inventory.matches if connection.site == site]
    outgoing = Counter(connection.source_org.org_id for connection in matches)
    incoming = Counter(connection.sink_org.org_id for connection in matches)
    orgs = [org for org in inventory.orgs if org.site == site]
    matrix = Matrix(
        site=site,
        sites=sites,
        sources=[org for org in orgs if org.org_id in outgoing],
        destinations=[org for org in orgs if org.org_id in incoming],
        cells={},
        outgoing=outgoing,
        incoming=incoming,
        matches=len(matches),
        orgs=orgs,
        inventory=inventory,
    )
    if not matrix.is_too_large:
        matrix.cells.update(_cells(matches, agreements=inventory.agreements))
        _add_last_changes(matrix, matches, actor=actor)
    return matrix


def _cells(
    connections: Iterable[ListedConnection], *, agreements: Agreements | None
) -> dict[tuple[str, str], Cell]:
    cells: dict[tuple[str, str], Cell] = {}
    for connection in connections:
        pair = (connection.source_org.org_id, connection.sink_org.org_id)
        cell = cells.setdefault(pair, Cell(types=set(), creators=set()))
        cell.types.update(connection.types)
        if connection.creator_name:
            cell.creators.add(connection.creator_name)
        cell.count += 1
        if agreements and agreements.by_pair:
            cell.reasons.update(agreements.reasons(connection.pair, connection.types_text))
    return cells


def _add_last_changes(
    matrix: Matrix, connections: Iterable[ListedConnection], *, actor: Actor
) -> None:
    """Add the newest change of the last 7 days to each cell that has one."""
    since = matrix.inventory.at - RECENT
    rows = Change.objects.filter(site=matrix.site, detected_at__gte=since).order_by()
    newest: dict[str, int] = {}
    for hex_id, number in rows.values_list(HexId("connection_id"), "number"):
        newest[hex_id] = max(number, newest.get(hex_id, 0))
    numbers: dict[tuple[str, str], int] = {}
    for connection in connections:
        pair = (connection.source_org.org_id, connection.sink_org.org_id)
        if connection.hex_id in newest:
            numbers[pair] = max(newest[connection.hex_id], numbers.get(pair, 0))
    # Includes what the titles of changes need.
    names = ("number", "kind", "before", "after", "widened", "detected_at", "deletion_id")
    newest_changes = Change.objects.filter(number__in=numbers.values()).only(*names).order_by()
    changes = {change.number: change for change in newest_changes}
    related = Deletion.objects.filter(
        pk__in={change.deletion_id for change in changes.values() if change.deletion_id}
    )
    deletions = visibility.visible(related, actor=actor).in_bulk()
    for pair, number in numbers.items():
        change = changes[number]
        deletion = deletions.get(change.deletion_id) if change.deletion_id else None
        matrix.cells[pair].last_change = LastChange(change=change, deletion=deletion)
