"""Runs what is due for deletions and access requests, and raises alarms about unknown outcomes."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import batched, islice

from django.db.models import Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import lifecycle, rechecks, reconciliation, sending, states
from connections.change_requests.actions import action_of
from connections.change_requests.hold import find_hold
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
    now = clock.now()
    # A time in the future means that the clock has been set back since.
    is_old = Q(sending_at__lte=now - time_limits.UNKNOWN_FOR)
    might_be_old = is_old | Q(sending_at__gt=now + clock.TOLERANCE)
    return [
        change_request
        for kind in KINDS
        for change_request in kind._default_manager.filter(
            might_be_old, state=State.UNKNOWN, settled_at=None
        )
        if now - states.sending_started_at(change_request, now=now) >= time_limits.UNKNOWN_FOR
        and _raise_alarm(change_request, actor=actor)
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
# The furthest ahead that `due_at` is ever set if nothing expires, by state.
_DUE_WITHIN = {
    State.SENDING: time_limits.CLAIM_TIMEOUT,
    State.UNKNOWN: timedelta(hours=1),
    State.STILL_PRESENT: timedelta(hours=1),
    State.SETTLED: time_limits.VERIFICATION_AT[-1],
}
# How many rows one query reads the newest events of.
CHUNK_SIZE = 200


def _is_handled_by_batch(now: datetime) -> Q:
    """Whether `batches.running` does what is due for the row, together with its bulk deletion."""
    is_undecided = Q(state__in=[State.REQUESTED, State.APPROVED, State.WAITING])
    # A row closed in the future was closed before the clock was set back. It is verified
    # separately.
    is_settled = Q(state=State.SETTLED, settled_at__lte=now + clock.TOLERANCE)
    return Q(RUN_BY_BATCH) & (is_undecided | is_settled)


def list_due(*, now: datetime, limit: int = BATCH_SIZE) -> list[ChangeRequest]:
    """What is due, longest due first, or else what a wrong clock postponed, by kind.

    Leaves out the rows that a bulk deletion handles.
    """
    deletions, access_requests = map(_with_credential, KINDS)
    due = _list_due(deletions.exclude(_is_handled_by_batch(now)), now=now, limit=limit)
    due += _list_due(access_requests, now=now, limit=limit)
    return sorted(due, key=lambda change_request: change_request.due_at or now)[:limit]


def _list_due(rows: QuerySet[ChangeRequest], *, now: datetime, limit: int) -> list[ChangeRequest]:
    rows = rows.filter(due_at__isnull=False).order_by("due_at")
    first = list(rows[:limit])
    due = [row for row in first if row.due_at and row.due_at <= now]
    if due or not first:
        return due
    # Built only if needed, because Django takes longer to build it than the database to run it.
    due = list(rows.filter(_has_impossible_time(rows.model, now=now))[:limit])
    if due:
        return due
    postponed = rows.filter(_might_be_postponed(rows.model, now=now))
    return list(islice(_find_postponed(postponed, now=now), limit))


def _has_impossible_time(kind: type[ChangeRequest], *, now: datetime) -> Q:
    """Whether `due_at` or `expires_at` is later than any that is set, so a wrong clock set it."""
    is_impossible = Q()
    for state, window in _by_state_of(kind, _DUE_WITHIN):
        is_impossible |= Q(state=state, due_at__gt=now + window + clock.TOLERANCE)
    for state, window in _by_state_of(kind, states.EXPIRES_WITHIN):
        is_impossible |= Q(state=state, expires_at__gt=now + window + clock.TOLERANCE)
    return is_impossible


def _by_state_of(
    kind: type[ChangeRequest], windows: dict[State, timedelta]
) -> Iterator[tuple[str, timedelta]]:
    """The windows, with this kind's name of the state without effect."""
    for state, window in windows.items():
        yield kind.no_effect if state == State.STILL_PRESENT else state, window


def _might_be_postponed(kind: type[ChangeRequest], *, now: datetime) -> Q:
    """Whether the row has times in the future and waits for a check that is not in progress."""
    ahead = now + clock.TOLERANCE
    return Q(
        Q(sending_at__gt=ahead) | Q(settled_at__gt=ahead),
        state__in=[State.UNKNOWN, kind.no_effect, State.SETTLED],
        due_at__gt=ahead + time_limits.CLAIM_TIMEOUT,
    )


def _find_postponed(rows: QuerySet[ChangeRequest], *, now: datetime) -> Iterator[ChangeRequest]:
    """The rows without an event since the clock was set back.

    Their `due_at` is from before that too.
    """
    for chunk in batched(rows, CHUNK_SIZE):
        newest_at = audit.newest_at(chunk)
        for change_request in chunk:
            at = newest_at.get(change_request.pk)
            if at and clock.is_ahead(at, now=now):
                yield change_request


def run_due(*, actor: Actor, limit: int = BATCH_SIZE) -> list[ChangeRequest]:
    """Do what is due once: expire, send, mark lost attempts as unknown, check, verify.

    Handles at most `limit`, so that a worker can stop in between. Returns the requests handled.
    Never sleeps. After an ambiguous attempt, nothing is sent again unless a person checked and
    confirmed it again.
    """
    processed: list[ChangeRequest] = []
    now = clock.now()
    for change_request in list_due(now=now, limit=limit):
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
            action_of(change_request).verify(change_request, actor=actor)
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
        action_of(change_request).verify(change_request, actor=actor, now=now)


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
