"""Changes that a completed access request made, which therefore need no acknowledgement."""

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery

from connections.core.time_limits import LIST_LAG
from connections.models import AccessOutcome, AccessRequest, Change, RequestKind
from connections.verifier.rules import Sent, sent_by

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
        if change.needs_attention and (change.kind in _OUTCOMES or change.kind == Kind.REMOVED)
    ]
    if not might_be:
        return
    rows = AccessRequest.objects.filter(
        Q(outcome__in=set(_OUTCOMES.values())) | Q(kind=RequestKind.MOVE),
        site=might_be[0].site,
        source_org_id__in={change.source_org_id for change in might_be},
        sink_org_id__in={change.sink_org_id for change in might_be},
    ).prefetch_related("attempts")
    for change in might_be:
        change.needs_attention = not any(_explains(change, request=row) for row in rows)


def _explains(change: Change, *, request: AccessRequest) -> bool:
    """Whether this request made the change at a time at which it was sent."""
    if change.kind == Kind.REMOVED:
        deletes = [each for each in request.attempts.all() if each.method == "DELETE"]
        return _made(change, request=request) and any(
            sent_by([each.verdict]) >= Sent.UNCERTAIN
            and each.claimed_at <= change.detected_at
            and change.earliest_at <= (each.answered_at or each.claimed_at) + LIST_LAG
            for each in deletes
        )
    is_same = request.connection_id == change.connection_id
    if not is_same or request.sending_at is None or request.settled_at is None:
        return False
    if request.sending_at > change.detected_at:
        return False
    if request.settled_at < change.earliest_at:
        return False
    former = (change.before or {}).get("connection_id")
    was_ours = change.deletion_id or former == str(request.moved_from)
    return (change.kind != Kind.RECREATED or bool(was_ours)) and _made(change, request=request)


def with_access_request(
    changes: QuerySet[Change], *, visible: QuerySet[AccessRequest]
) -> QuerySet[Change]:
    """The changes with the visible access request that might have made each."""
    is_made = Q(
        connection_id=OuterRef("connection_id"),
        outcome__in=set(_OUTCOMES.values()),
        sending_at__lte=OuterRef("detected_at"),
        settled_at__gte=OuterRef("earliest_at"),
    )
    is_moved = Q(
        moved_from=OuterRef("connection_id"),
        removed_at__isnull=False,
        requested_at__lte=OuterRef("detected_at"),
    )
    rows = visible.filter(
        is_made | is_moved,
        site=OuterRef("site"),
        source_org_id=OuterRef("source_org_id"),
        sink_org_id=OuterRef("sink_org_id"),
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
    if change.kind == Kind.REMOVED:
        return request.moved_from == change.connection_id
    if request.outcome != _OUTCOMES.get(Kind(change.kind)):
        return False
    if set(after.get("connection_types", ())) != set(request.types_after):
        return False
    if change.kind == Kind.TYPES_CHANGED:
        return set(before.get("connection_types", ())) == set(request.connection_types)
    return True
