"""Changes that an access request made, which therefore need no acknowledgement."""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery

from connections.core.time_limits import LIST_LAG
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessRequestAttempt,
    Change,
    RequestKind,
)
from connections.verifier.rules import Sent, sent_by

Kind = Change.Kind

_OUTCOMES = {
    Kind.APPEARED: AccessOutcome.CREATED,
    Kind.RECREATED: AccessOutcome.CREATED,
    Kind.TYPES_CHANGED: AccessOutcome.CHANGED,
}
_METHODS = {
    Kind.APPEARED: "POST",
    Kind.RECREATED: "POST",
    Kind.TYPES_CHANGED: "PATCH",
    Kind.REMOVED: "DELETE",
}


def clear_attention(changes: Iterable[Change]) -> None:
    """Let the unsaved changes need no attention that an access request made.

    It can still be open: a sync can show the change before the request is known to have worked. A
    former connection that someone else might have removed needs attention even so.
    """
    might_be = [
        change
        for change in changes
        if change.needs_attention and (change.kind in _OUTCOMES or change.kind == Kind.REMOVED)
    ]
    if not might_be:
        return
    rows = AccessRequest.objects.filter(
        Q(outcome__in=set(_OUTCOMES.values()))
        | Q(kind=RequestKind.MOVE)
        | Q(settled_at=None, epoch__gt=0),
        site=might_be[0].site,
        source_org_id__in={change.source_org_id for change in might_be},
        sink_org_id__in={change.sink_org_id for change in might_be},
    )
    rows = rows.select_related("credential").prefetch_related("attempts")
    for change in might_be:
        change.needs_attention = not any(_explains(change, request=row) for row in rows)


def _explains(change: Change, *, request: AccessRequest) -> bool:
    """Whether this request made the change at a time at which it was sent."""
    if change.kind == Kind.REMOVED:
        return _made(change, request=request) and bool(_attempts_at(change, request=request))
    if not _is_about(change, request=request):
        return False
    former = (change.before or {}).get("connection_id")
    was_ours = change.deletion_id or former == str(request.moved_from)
    return (change.kind != Kind.RECREATED or bool(was_ours)) and _made(change, request=request)


def _is_about(change: Change, *, request: AccessRequest) -> bool:
    """Whether the request is about this connection and was sent at the time of the change."""
    if request.sending_at and request.settled_at:
        is_same = request.connection_id == change.connection_id
        is_sent = request.sending_at <= change.detected_at
        return is_same and is_sent and request.settled_at >= change.earliest_at
    attempts = _attempts_at(change, request=request)
    if change.kind == Kind.TYPES_CHANGED:
        return bool(attempts) and request.connection_id == change.connection_id
    # The ID isn't known yet.
    after = change.after or {}
    owner_id, created_at = request.credential.key_owner_id, after.get("created_at")
    if not owner_id or not created_at or (after.get("created_by") or {}).get("id") != owner_id:
        return False
    at = datetime.fromisoformat(created_at)
    return any(each.can_have_created(at) for each in attempts)


def _attempts_at(change: Change, *, request: AccessRequest) -> list[AccessRequestAttempt]:
    """The attempts at such a change, at its time, that might have worked."""
    return [
        each
        for each in request.attempts.all()
        if each.method == _METHODS[Kind(change.kind)]
        and sent_by([each.verdict]) >= Sent.UNCERTAIN
        and each.claimed_at <= change.detected_at
        and change.earliest_at <= (each.answered_at or each.claimed_at) + LIST_LAG
    ]


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
    if request.is_settled and request.outcome != _OUTCOMES.get(Kind(change.kind)):
        return False
    if set(after.get("connection_types", ())) != set(request.types_after):
        return False
    if change.kind == Kind.TYPES_CHANGED:
        return set(before.get("connection_types", ())) == set(request.connection_types)
    return True
