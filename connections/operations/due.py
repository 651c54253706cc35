"""Runs what is due for deletions and access requests, and raises alarms about unknown outcomes."""

from datetime import datetime

from django.db.models import Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import lifecycle, rechecks, reconciliation, sending, verification
from connections.change_requests.guards import find_hold
from connections.core import clock, logs, time_limits
from connections.core.errors import BlockedError, UnavailableError
from connections.core.text import format_limit
from connections.inventory.fetching import SyncResult
from connections.models import RUN_BY_BATCH, AccessRequest, ChangeRequest, Deletion, State, Step

# The models of what is run here.
KINDS: tuple[type[ChangeRequest], ...] = (Deletion, AccessRequest)


def raise_alarms(*, actor: Actor) -> list[ChangeRequest]:
    """Record once for each request that it is still unknown. Return those requests.

    Raises DatabaseError.
    """
    since = clock.now() - time_limits.UNKNOWN_FOR
    return [
        change_request
        for kind in KINDS
        for change_request in kind._default_manager.filter(
            sending_at__lte=since, state=State.UNKNOWN, settled_at=None
        )
        if _raise_alarm(change_request, actor=actor)
    ]


def _raise_alarm(change_request: ChangeRequest, *, actor: Actor) -> bool:
    if _is_recorded(change_request):
        return False
    with audit.atomic():
        # Locked so that only one of two workers records it.
        rows = type(change_request)._default_manager.select_for_update(no_key=True)
        locked = rows.get(pk=change_request.pk)
        if locked.state != State.UNKNOWN or _is_recorded(locked):
            return False
        audit.record(
            code=locked.event_code(Step.STILL_UNKNOWN),
            actor=actor,
            subject=locked,
            sentence=audit.Sentence(
                "{limit} after the attempt, the outcome for {connection} is still unknown.",
                limit=format_limit(time_limits.UNKNOWN_FOR),
                connection=locked.description,
            ),
        )
    return True


def _is_recorded(change_request: ChangeRequest) -> bool:
    """Whether it has been recorded since the last attempt."""
    codes = [event.code for event in audit.events_of(subject=change_request)]
    sending_code = change_request.event_code(Step.SENDING)
    last_attempt = max(
        (index for index, code in enumerate(codes) if code == sending_code), default=0
    )
    return change_request.event_code(Step.STILL_UNKNOWN) in codes[last_attempt:]


BATCH_SIZE = 20
EVERYTHING = Q()
# What waits to be sent, such as the POST of a move.
TO_BE_SENT = Q(state=State.WAITING)
# `batches.running` does what is due for these rows, together with their bulk deletion.
_IS_HANDLED_BY_BATCH = RUN_BY_BATCH & Q(
    state__in=[State.REQUESTED, State.APPROVED, State.WAITING, State.SETTLED]
)


def list_due(
    *, now: datetime, limit: int = BATCH_SIZE, only: Q = EVERYTHING
) -> list[ChangeRequest]:
    """What is due, longest due first. Leaves out the rows that a bulk deletion handles."""
    deletions, access_requests = (_with_credential(kind).filter(only) for kind in KINDS)
    due = [
        *deletions.exclude(_IS_HANDLED_BY_BATCH).filter(due_at__lte=now).order_by("due_at")[:limit],
        *access_requests.filter(due_at__lte=now).order_by("due_at")[:limit],
    ]
    return sorted(due, key=lambda change_request: change_request.due_at or now)[:limit]


def run_due(*, actor: Actor, limit: int = BATCH_SIZE, only: Q = EVERYTHING) -> list[ChangeRequest]:
    """Do what is due once: expire, send, mark lost attempts as unknown, check, verify.

    Handles at most `limit`, so that a worker can stop in between. Returns the requests handled.
    Never sleeps. After an ambiguous attempt, nothing is sent again unless a person checked and
    confirmed it again.
    """
    processed: list[ChangeRequest] = []
    now = clock.now()
    for change_request in list_due(now=now, limit=limit, only=only):
        if processed:
            # Read again, because Datadog might have taken seconds to respond.
            now = clock.now()
        if not _reserve(change_request, now=now):
            continue
        if processed:
            # Another process might have changed it while earlier rows were handled.
            change_request.refresh_from_db(from_queryset=_with_credential(type(change_request)))
        ids = {change_request.noun: change_request.pk}
        # Only deletions can be part of a bulk deletion.
        with logs.about(**ids, batch=getattr(change_request, "batch_id", None)):
            run_request(change_request=change_request, actor=actor, now=now)
        processed.append(change_request)
    return processed


def reconcile_all(*, actor: Actor) -> list[ChangeRequest]:
    """Check everything whose outcome is unknown or not verified once, due or not.

    Sends nothing but reads, and never sleeps. Returns the requests checked, deletions first.
    """
    change_requests = [
        change_request
        for kind in KINDS
        for change_request in kind._default_manager.filter(
            Q(state__in=[State.SENDING, State.UNKNOWN, kind.no_effect], settled_at=None)
            | Q(state=State.SETTLED, due_at__isnull=False)
        )
    ]
    for change_request in change_requests:
        if change_request.state == State.SENDING:
            reconciliation.expire_lost_claim(change_request=change_request, actor=actor)
        if change_request.awaits_outcome:
            reconciliation.reconcile_unknown(change_request=change_request, actor=actor)
        elif change_request.is_settled:
            verification.verify(change_request=change_request, actor=actor)
    return change_requests


def _reserve(change_request: ChangeRequest, *, now: datetime) -> bool:
    """Postpone the due time, so that other workers skip this row in the meantime.

    Returns False if the row has changed since it was read.
    """
    due_at = now + time_limits.CLAIM_TIMEOUT
    as_read = {name: getattr(change_request, name) for name in ("state", "epoch", "due_at")}
    rows = type(change_request)._default_manager.filter(pk=change_request.pk, **as_read)
    is_reserved = bool(rows.update(due_at=due_at))
    if is_reserved:
        change_request.due_at = due_at
    return is_reserved


def _with_credential(kind: type[ChangeRequest]) -> QuerySet[ChangeRequest]:
    return kind._default_manager.select_related("credential")  # type: ignore[misc]


def run_request(
    *, change_request: ChangeRequest, actor: Actor, now: datetime | None = None
) -> None:
    """Do what is due for this request.

    `now` is the database time, if the caller has just read it.
    """
    now = now or clock.now()
    lifecycle.lapse_approvals(change_request=change_request, actor=actor, now=now)
    if change_request.state == State.SENDING:
        reconciliation.expire_lost_claim(change_request=change_request, actor=actor)
    elif lifecycle.expire(change_request=change_request, actor=actor, now=now):
        return
    elif change_request.state == State.WAITING:
        _send_waiting(change_request=change_request, actor=actor)
    elif change_request.awaits_outcome:
        reconciliation.reconcile_unknown(change_request=change_request, actor=actor)
    elif change_request.is_settled:
        verification.verify(change_request=change_request, actor=actor, now=now)


def _send_waiting(*, change_request: ChangeRequest, actor: Actor) -> None:
    if find_hold():
        # It is due again soon, so it is sent once the hold is released, or it expires.
        return
    try:
        sending.send(change_request=change_request, actor=actor)
    except UnavailableError as error:
        rechecks.record_recheck_failure(
            change_request=change_request, result=SyncResult(cause=error.cause), actor=actor
        )
    except BlockedError as blocked:
        sending.record_blocked(change_request=change_request, blocked=blocked, actor=actor)
