"""Changes that a completed access request made, which therefore need no acknowledgement."""

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from connections.models import AccessOutcome, AccessRequest, Change

Kind = Change.Kind

_OUTCOMES = {
    Kind.APPEARED: AccessOutcome.CREATED,
    Kind.RECREATED: AccessOutcome.CREATED,
    Kind.TYPES_CHANGED: AccessOutcome.CHANGED,
}


def clear_attention(changes: Iterable[Change]) -> None:
    """Let the unsaved changes need no attention that a completed access request made.

    A former connection that someone else might have removed needs it even so.
    """
    might_be = [
        change
        for change in changes
        if change.needs_attention
        and change.kind in _OUTCOMES
        and (change.kind != Kind.RECREATED or change.deletion_id)
    ]
    if not might_be:
        return
    rows = AccessRequest.objects.filter(
        site=might_be[0].site,
        source_org_id__in={change.source_org_id for change in might_be},
        sink_org_id__in={change.sink_org_id for change in might_be},
        outcome__in=set(_OUTCOMES.values()),
    )
    for change in might_be:
        change.needs_attention = not any(
            row.connection_id == change.connection_id
            and row.sending_at
            and row.settled_at
            and row.sending_at <= change.detected_at
            and row.settled_at >= change.earliest_at
            and _made(change, request=row)
            for row in rows
        )


def with_access_request(
    changes: QuerySet[Change], *, visible: QuerySet[AccessRequest]
) -> QuerySet[Change]:
    """The changes with the visible access request that might have made each."""
    rows = visible.filter(
        site=OuterRef("site"),
        source_org_id=OuterRef("source_org_id"),
        sink_org_id=OuterRef("sink_org_id"),
        connection_id=OuterRef("connection_id"),
        outcome__in=set(_OUTCOMES.values()),
        sending_at__lte=OuterRef("detected_at"),
        settled_at__gte=OuterRef("earliest_at"),
    ).order_by("-requested_at")
    return changes.annotate(access_request_id=Subquery(rows.values("pk")[:1]))


def find_access_requests(changes: Collection[Change]) -> dict[UUID, AccessRequest]:
    """The access request that made each of these changes, by the ID of the change.

    The changes are from `with_access_request`. No statement if none might have been made by one.
    """
    might_be = {
        change: pk for change in changes if (pk := getattr(change, "access_request_id", None))
    }
    requests = AccessRequest.objects.in_bulk(set(might_be.values())) if might_be else {}
    return {
        change.pk: requests[pk]
        for change, pk in might_be.items()
        if _made(change, request=requests[pk])
    }


def _made(change: Change, *, request: AccessRequest) -> bool:
    """Whether this request, which was sent at the right time, makes exactly this change."""
    before, after = change.before or {}, change.after or {}
    if request.outcome != _OUTCOMES.get(Kind(change.kind)):
        return False
    if set(after.get("connection_types", ())) != set(request.types_after):
        return False
    if change.kind == Kind.TYPES_CHANGED:
        return set(before.get("connection_types", ())) == set(request.connection_types)
    return True
