"""Which access requests a bundle of deletions has too."""

from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from connections.access import visibility
from connections.access.actor import Actor
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.models import AccessRequest, OrgConnectionSnapshot, OrgPair


def list_access_requests(*, actor: Actor, filters: HistoryFilter) -> list[UUID]:
    """The IDs of the visible access requests that match, newest first.

    A status, a bulk deletion or an access review selects deletions only. A connection selects all
    access requests of its pair of orgs, because one that led to nothing has no connection.
    """
    if filters.status or filters.batch or filters.access_review:
        return []
    rows = _in_period(
        visibility.visible_access_requests(actor=actor), since=filters.since, until=filters.until
    ).filter(*history.combined_conditions(filters))
    if filters.ticket:
        rows = rows.filter(ticket=filters.ticket)
    if filters.connection_id:
        rows = rows.filter(_of_connection(filters.connection_id))
    for word in filters.text.casefold().split():
        rows = rows.filter(search_text__contains=word)
    return list(rows.order_by("-requested_at", "-id").values_list("pk", flat=True))


def _of_connection(connection_id: UUID) -> Q:
    condition = Q(connection_id=connection_id)
    for model in (AccessRequest, OrgConnectionSnapshot):
        rows = model._default_manager.filter(connection_id=connection_id).order_by()
        for pair in rows.values_list(*OrgPair._fields).distinct():
            condition |= Q(**OrgPair(*pair)._asdict())
    return condition


def count_access_requests(*, since: datetime | None, until: datetime | None) -> int:
    """The exact number of access requests that were requested in a period."""
    return _in_period(AccessRequest.objects.all(), since=since, until=until).count()


def _in_period(
    rows: QuerySet[AccessRequest], *, since: datetime | None, until: datetime | None
) -> QuerySet[AccessRequest]:
    exact = {"requested_at__gte": since, "requested_at__lt": until}
    return rows.filter(**{name: value for name, value in exact.items() if value})
