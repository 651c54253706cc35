"""Reads access requests: filtered lists, and their export."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from operator import or_

from django.db.models import Exists, OuterRef, Q, QuerySet

from connections.access import permissions
from connections.access.actor import Actor
from connections.access.visibility import is_visible, visible_access_requests
from connections.access_requests.concealing import conceal, has_status
from connections.agreements.approved import automatic_end, find_grants
from connections.core import clock
from connections.core.tabular import Columns, Row, as_time
from connections.exports.export import Export
from connections.models import (
    AccessRequest,
    AccessRequestApproval,
    Org,
    OrgConnectionKey,
    OrgPair,
    Person,
)

ROWS_PER_QUERY = 500


@dataclass(frozen=True, kw_only=True)
class AccessRequestFilter:
    """Which access requests to show. An empty field filters nothing. Of several values, any
    matches.
    """

    kind: tuple[str, ...] = ()
    # States and outcomes.
    status: tuple[str, ...] = ()
    site: tuple[str, ...] = ()
    # "<site>/<org id>" of the source or the destination org.
    org: tuple[str, ...] = ()
    # Groups of one of these orgs.
    group: tuple[str, ...] = ()
    # Usernames.
    owner: tuple[str, ...] = ()
    # Only those that ended then or later.
    ended_since: datetime | None = None
    text: str = ""


def list_access_requests(*, actor: Actor, filters: AccessRequestFilter) -> QuerySet[AccessRequest]:
    """The visible matches, newest first. Raises PermissionDenied."""
    permissions.require(permissions.can_see(actor), "see access requests")
    exact = {
        "kind__in": filters.kind,
        "site__in": filters.site,
        "owner__username__in": filters.owner,
    }
    rows = visible_access_requests(actor=actor).filter(
        _any_of(has_status(status, actor=actor) for status in filters.status),
        _any_of(map(_has_org, filters.org)),
        **{name: values for name, values in exact.items() if values},
    )
    if filters.ended_since:
        rows = rows.filter(settled_at__gte=filters.ended_since)
    if filters.group:
        in_group = Org.objects.filter(site=OuterRef("site"), group__in=filters.group)
        rows = rows.filter(
            Exists(in_group.filter(org_id=OuterRef("source_org_id")))
            | Exists(in_group.filter(org_id=OuterRef("sink_org_id")))
        )
    for word in filters.text.casefold().split():
        rows = rows.filter(search_text__contains=word)
    return rows.order_by("-requested_at", "-id")


def list_of_connection(
    key: OrgConnectionKey, pair: OrgPair, *, actor: Actor
) -> list[AccessRequest]:
    """The visible access requests about this connection of the pair, oldest first."""
    of_pair = visible_access_requests(actor=actor).filter(**pair._asdict())
    of_connection = of_pair.filter(connection_id=key.connection_id)
    return list(of_connection.prefetch_related("approvals").order_by("requested_at", "id"))


def find_approved_end(key: OrgConnectionKey, pair: OrgPair) -> date | None:
    """The last day before Org Admin deletes this connection of the pair, or None."""
    grant = find_grants([pair]).get(pair)
    if grant is None or grant.connection_id != key.connection_id:
        return None
    return automatic_end(grant, today=clock.now().date())


def list_owners(*, actor: Actor) -> list[Person]:
    """The owners that visible access requests name, by name."""
    requests = visible_access_requests(actor=actor).order_by()
    owners = Person.objects.filter(Exists(requests.filter(owner=OuterRef("pk"))))
    return sorted(owners, key=lambda owner: owner.display_name.casefold())


def _any_of(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, Q())


def _has_org(org: str) -> Q:
    site, _, org_id = org.partition("/")
    return Q(site=site) & (Q(source_org_id=org_id) | Q(sink_org_id=org_id))


@dataclass(frozen=True, kw_only=True)
class ListedAccessRequest:
    """An access request as this reader sees it: hidden deletions aren't named."""

    request: AccessRequest
    restored_from: str | None
    deletion: str | None


def _approved_by(request: AccessRequest) -> list[str]:
    """Who approved the last attempt or, before the first, who has approved so far."""
    attempts = list(request.attempts.all())
    last_round = attempts[-1].approval_round if attempts else 1
    return [
        approval.approver_name
        for approval in request.approvals.all()
        if approval.decision == AccessRequestApproval.Decision.APPROVED
        and approval.round == last_round
    ]


# Times are ISO 8601 in UTC.
ACCESS_REQUEST_COLUMNS = Columns[ListedAccessRequest](
    {
        "id": lambda row: str(row.request.pk),
        "kind": lambda row: row.request.kind,
        "site": lambda row: row.request.site,
        "source_org": lambda row: row.request.source_org,
        "sink_org": lambda row: row.request.sink_org,
        "types_before": lambda row: row.request.connection_types,
        "types_after": lambda row: row.request.types_after,
        "ends_on": lambda row: row.request.ends_on.isoformat() if row.request.ends_on else None,
        "owner": lambda row: row.request.owner.username if row.request.owner else None,
        "owner_text": lambda row: row.request.owner_text,
        "purpose": lambda row: row.request.purpose,
        "state": lambda row: row.request.state,
        "outcome": lambda row: row.request.outcome or None,
        "cause": lambda row: row.request.reported_cause or None,
        "connection_id": lambda row: (
            str(row.request.connection_id) if row.request.connection_id else None
        ),
        "restored_from": lambda row: row.restored_from,
        "moved_from": lambda row: str(row.request.moved_from) if row.request.moved_from else None,
        "removed_at": lambda row: as_time(row.request.removed_at),
        "deletion": lambda row: row.deletion,
        "requested_by": lambda row: row.request.requested_by_name,
        "approved_by": lambda row: _approved_by(row.request),
        "confirmed_by": lambda row: row.request.confirmed_by_name or None,
        "requested_at": lambda row: as_time(row.request.requested_at),
        "settled_at": lambda row: as_time(row.request.settled_at),
        "verified_at": lambda row: as_time(row.request.verified_at),
        "contradicted_at": lambda row: as_time(row.request.contradicted_at),
    }
)


def iterate_access_requests(
    *, actor: Actor, filters: AccessRequestFilter
) -> Iterator[ListedAccessRequest]:
    """Every visible match, newest first. Raises PermissionDenied."""
    rows = list_access_requests(actor=actor, filters=filters)
    older = rows
    while listed := as_listed(older[:ROWS_PER_QUERY], actor=actor):
        yield from listed
        last = listed[-1].request
        at = last.requested_at
        older = rows.filter(Q(requested_at__lt=at) | Q(requested_at=at, pk__lt=last.pk))


def as_listed(rows: QuerySet[AccessRequest], *, actor: Actor) -> list[ListedAccessRequest]:
    """These access requests as the actor sees them."""
    rows = rows.select_related("owner", "restored_from", "deletion")
    return [
        ListedAccessRequest(
            request=request,
            **{
                name: str(deletion.pk)
                if (deletion := getattr(request, name)) and is_visible(deletion, actor=actor)
                else None
                for name in ("restored_from", "deletion")
            },
        )
        for request in conceal(rows.prefetch_related("attempts", "approvals"), actor=actor)
    ]


def document_of(listed: ListedAccessRequest) -> Row:
    """An access request in JSON, with the address of its page."""
    return ACCESS_REQUEST_COLUMNS.row(listed) | {"url": f"/access-requests/{listed.request.pk}/"}


def prepare_export(
    *, actor: Actor, filters: AccessRequestFilter, file_format: str, query: str
) -> Export[ListedAccessRequest]:
    """An export of every visible match, newest first. Raises PermissionDenied.

    `query` is the filter as the person entered it.
    """
    permissions.require(permissions.can_export(actor), "export access requests")
    return Export(
        actor=actor,
        what="access requests",
        description="access requests",
        file_format=file_format,
        query=query,
        items=lambda: iterate_access_requests(actor=actor, filters=filters),
        columns=ACCESS_REQUEST_COLUMNS,
    )
