"""Reads changes: filtered pages, limited to what the reader can know about each change."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.changes.explained import find_access_requests, with_access_request
from connections.changes.texts import change_cause_text
from connections.core.database import count_each
from connections.models import AccessRequest, Change, Credential, Deletion, Org, OrgConnectionKey

PAGE_SIZE = 50
ROWS_PER_QUERY = 500
MAX_COUNTED = 1000


@dataclass(frozen=True, kw_only=True)
class ChangeFilter:
    """Which changes to show. An empty field filters nothing. Of several values, any matches."""

    kind: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    # "<site>/<org id>" of the source, the destination or the renamed org.
    org: tuple[str, ...] = ()
    # Groups of one of these orgs.
    group: tuple[str, ...] = ()
    connection: OrgConnectionKey | None = None
    text: str = ""
    needs_attention: bool = False
    # "yes" or "no".
    acknowledged: str = ""
    # Leaves out what needs attention and has not been acknowledged.
    is_settled: bool = False
    # Recorded at this time or later. A removal is recorded some time after it was detected: once
    # every credential that listed the connection is synced or has failed for too long.
    since: datetime | None = None
    # Stored after the change with the first number, up to the change with the second.
    after_number: int = 0
    up_to_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeRow:
    """A change as this reader sees it: hidden credentials and requests aren't named."""

    change: Change
    # Names of credentials.
    observed_by: list[str]
    not_checked_by: list[str]
    # The deletion that removed the connection, or whose connection came back.
    deletion: Deletion | None
    # The one that made the change.
    access_request: AccessRequest | None
    # The old state. Also None if only hidden credentials listed the former connection.
    before: dict[str, Any] | None
    # How many removals by the same bulk deletion the row stands for.
    removals: int = 1

    @property
    def cause(self) -> str:
        """What is known about the cause, as sentences. Can be empty."""
        return change_cause_text(
            self.change,
            before=self.before,
            deletion=self.deletion,
            access_request=self.access_request,
            not_checked_by=self.not_checked_by,
        )


# What needs attention and no one has acknowledged, and what the list's address has to show it.
AWAITING = ChangeFilter(needs_attention=True, acknowledged="no")
AWAITING_QUERY = {"attention": "yes", "acknowledged": "no"}
# A change, and how many removals by the same bulk deletion it stands for.
type _Folded = tuple[Change, int]


@dataclass(frozen=True, kw_only=True)
class ChangePage:
    """One page, newest first. The next page starts after the change with the number `next`."""

    rows: list[ChangeRow]
    # None on the last page.
    next: int | None


def get_change_page(
    *, actor: Actor, filters: ChangeFilter, after: int | None = None, size: int = PAGE_SIZE
) -> ChangePage:
    """The visible matches after the change with the number `after`. Raises PermissionDenied.

    The removals by one bulk deletion are one row, in the place of the newest.
    """
    permissions.require(permissions.can_see(actor), "see changes")
    parts = _queries(filters, actor=actor)
    matches = _fold_removals(parts, after, size=size + 1, actor=actor)
    return ChangePage(
        rows=_rows(matches[:size], actor=actor),
        next=matches[size - 1][0].number if len(matches) > size else None,
    )


def iterate_changes(*, actor: Actor, filters: ChangeFilter) -> Iterator[ChangeRow]:
    """Every visible match, newest first. Raises PermissionDenied."""
    permissions.require(permissions.can_see(actor), "see changes")
    parts = _queries(filters, actor=actor)
    after: int | None = None
    while matches := _matches_after(parts, after, limit=ROWS_PER_QUERY, actor=actor):
        yield from _rows([(change, 1) for change in matches], actor=actor)
        after = matches[-1].number


def find_awaiting_acknowledgement(*, actor: Actor) -> QuerySet[Change]:
    """The visible changes that need attention and have not been acknowledged."""
    return _queries(AWAITING, actor=actor)[0]


def count_for_list(*, actor: Actor, filters: ChangeFilter) -> tuple[int | None, int]:
    """How many visible changes match, and how many await acknowledgement. One query.

    The first is exact up to MAX_COUNTED, None if there are more.
    """
    # An index contains the number, and not the ID.
    limited = [
        rows.order_by().values("number")[: MAX_COUNTED + 1]
        for rows in _queries(filters, actor=actor)
    ]
    waiting = find_awaiting_acknowledgement(actor=actor).order_by().values("number")
    awaiting, *counts = count_each(waiting, *limited)
    return (sum(counts) if sum(counts) <= MAX_COUNTED else None), awaiting


def _queries(filters: ChangeFilter, *, actor: Actor) -> list[QuerySet[Change]]:
    """Queries that together find the visible matches, each newest first.

    An org can be on either side. One query for both sides would read every change; several queries
    each read an index in its order.
    """
    rows = visibility.visible_changes(matching_changes(filters), actor=actor)
    if not filters.org:
        return [rows]
    orgs = [org.partition("/")[::2] for org in filters.org]
    source, sink, renamed = (
        reduce(or_, (Q(**{"site": site, side: org_id}) for site, org_id in orgs))
        for side in ("source_org_id", "sink_org_id", "org_id")
    )
    # The indexes of orgs contain no empty IDs, and SQLite uses one only if the query says so.
    return [
        rows.filter(source).exclude(source_org_id=""),
        rows.filter(sink).exclude(source).exclude(sink_org_id=""),
        rows.filter(renamed).exclude(org_id=""),
    ]


def matching_changes(filters: ChangeFilter) -> QuerySet[Change]:
    """The changes that match every filter except the org, newest first, visible or not."""
    rows = Change.objects.select_related("acknowledged_by", "deletion__batch").order_by("-number")
    exact = {
        "kind__in": filters.kind,
        "site__in": filters.site,
        "recorded_at__gte": filters.since,
        "number__gt": filters.after_number,
        "number__lte": filters.up_to_number,
    }
    rows = rows.filter(**{name: value for name, value in exact.items() if value})
    if filters.group:
        in_group = Org.objects.filter(site=OuterRef("site"), group__in=filters.group)
        sides = ("source_org_id", "sink_org_id", "org_id")
        of_group = (Q(Exists(in_group.filter(org_id=OuterRef(side)))) for side in sides)
        rows = rows.filter(reduce(or_, of_group))
    if filters.connection:
        key = filters.connection
        rows = rows.filter(site=key.site, connection_id=key.connection_id)
    if filters.needs_attention:
        rows = rows.filter(needs_attention=True)
    if filters.acknowledged:
        rows = rows.filter(acknowledged_at__isnull=filters.acknowledged == "no")
    if filters.is_settled:
        rows = rows.exclude(needs_attention=True, acknowledged_at=None)
    for word in filters.text.casefold().split():
        rows = rows.filter(search_text__contains=word)
    return rows


def _matches_after(
    parts: Iterable[QuerySet[Change]], after: int | None, *, limit: int, actor: Actor
) -> list[Change]:
    requests = visibility.visible_access_requests(actor=actor)
    parts = [with_access_request(rows, visible=requests) for rows in parts]
    if after is not None:
        parts = [rows.filter(number__lt=after) for rows in parts]
    by_number = {row.number: row for rows in parts for row in rows[:limit]}
    return [by_number[number] for number in sorted(by_number, reverse=True)[:limit]]


def _fold_removals(
    parts: list[QuerySet[Change]], after: int | None, *, size: int, actor: Actor
) -> list[_Folded]:
    """The first `size` matches after a number, with one for the removals by each bulk deletion."""
    folded: list[_Folded] = []
    limit = size
    while len(folded) < size:
        matches = _matches_after(parts, after, limit=limit, actor=actor)
        batches = _removals_by_batch(parts, matches, actor=actor)
        for change in matches:
            newest, count = batches.get(_batch_of(change), (change.number, 1))
            if change.number == newest:
                folded.append((change, count))
        if len(matches) < limit:
            break
        after, limit = matches[-1].number, ROWS_PER_QUERY
    return folded[:size]


def _batch_of(change: Change) -> UUID | None:
    """The bulk deletion that removed the connection, visible or not."""
    is_removed = change.kind == Change.Kind.REMOVED
    return change.deletion.batch_id if is_removed and change.deletion else None


def _removals_by_batch(
    parts: list[QuerySet[Change]], changes: list[Change], *, actor: Actor
) -> dict[UUID | None, tuple[int, int]]:
    """The newest matching removal by each visible bulk deletion, and how many there are."""
    deletions = [change.deletion for change in changes if change.deletion and _batch_of(change)]
    batch_ids = visibility.visible_batch_ids(deletions, actor=actor)
    found: dict[UUID | None, tuple[int, int]] = {}
    for rows in parts if batch_ids else []:
        removals = rows.order_by().filter(kind=Change.Kind.REMOVED, deletion__batch__in=batch_ids)
        by_batch = removals.values_list("deletion__batch").annotate(Max("number"), Count("pk"))
        for batch, newest, count in by_batch:
            before = found.get(batch, (0, 0))
            found[batch] = (max(newest, before[0]), count + before[1])
    return found


def _rows(changes: list[_Folded], *, actor: Actor) -> list[ChangeRow]:
    credentials = visibility.visible(Credential.objects.all(), actor=actor, by="pk")
    names = {str(pk): name for pk, name in credentials.values_list("pk", "name")}
    former = {change.pk: key for change, _ in changes if (key := _former_connection(change))}
    hidden = visibility.hidden_connections(list(former.values()), actor=actor)
    made_by = find_access_requests([change for change, _ in changes])
    return [
        ChangeRow(
            change=change,
            observed_by=[names[pk] for pk in change.observed_by if pk in names],
            not_checked_by=[names[pk] for pk in change.not_checked_by if pk in names],
            deletion=_visible_deletion(change, actor=actor),
            access_request=made_by.get(change.pk),
            before=None if former.get(change.pk) in hidden else change.before,
            removals=removals,
        )
        for change, removals in changes
    ]


def _visible_deletion(change: Change, *, actor: Actor) -> Deletion | None:
    deletion = change.deletion
    return deletion if deletion and visibility.is_visible(deletion, actor=actor) else None


def _former_connection(change: Change) -> OrgConnectionKey | None:
    if change.kind != Change.Kind.RECREATED or not change.before:
        return None
    connection_id = UUID(change.before["connection_id"])
    return OrgConnectionKey(site=change.site, connection_id=connection_id)
