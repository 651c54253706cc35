"""Runs what is due for deletions, and raises alarms when an outcome is unknown for too long."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import batched, islice

from django.db.models import Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import lifecycle, rechecks, reconciliation, sending, states
from connections.change_requests.actions import action_of
from connections.core import clock, logs, time_limits
from connections.core.errors import BlockedError, UnavailableError
from connections.core.text import format_limit
from connections.inventory.fetching import SyncResult
from connections.models import RUN_BY_BATCH, Deletion, State


def raise_alarms(*, actor: Actor) -> list[Deletion]:
    """Record once for each deletion that it is still unknown. Return those deletions.

    Raises DatabaseError.
    """
    now = clock.now()
    # A time in the future means that the clock has been set back since.
    is_old = Q(sending_at__lte=now - time_limits.UNKNOWN_FOR)
    might_be_old = is_old | Q(sending_at__gt=now + clock.TOLERANCE)
    unknown = Deletion.objects.filter(might_be_old, state=State.UNKNOWN, settled_at=None)
    return [
        deletion
        for deletion in unknown
        if now - states.sending_started_at(deletion, now=now) >= time_limits.UNKNOWN_FOR
        and _raise_alarm(deletion, actor=actor)
    ]


def _raise_alarm(deletion: Deletion, *, actor: Actor) -> bool:
    if _is_recorded(deletion):
        return False
    with audit.atomic():
        # Locked so that only one of two workers records it.
        locked = Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
        if locked.state != State.UNKNOWN or _is_recorded(locked):
            return False
        audit.record(
            code=audit.EventCode.DELETION_STILL_UNKNOWN,
            actor=actor,
            subject=locked,
            sentence=audit.Sentence(
                "{limit} after the attempt, the outcome for {connection} is still unknown.",
                limit=format_limit(time_limits.UNKNOWN_FOR),
                connection=locked.description,
            ),
        )
    return True


def _is_recorded(deletion: Deletion) -> bool:
    """Whether it has been recorded since the last attempt."""
    codes = [event.code for event in audit.events_of(subject=deletion)]
    last_attempt = max(
        (index for index, code in enumerate(codes) if code == audit.EventCode.DELETION_SENDING),
        default=0,
    )
    return audit.EventCode.DELETION_STILL_UNKNOWN in codes[last_attempt:]


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


def list_due_deletions(*, now: datetime, limit: int = BATCH_SIZE) -> list[Deletion]:
    """Due deletions, longest due first, or else those that a wrong clock postponed.

    Leaves out the rows that a bulk deletion handles.
    """
    rows = _with_credential().filter(due_at__isnull=False).order_by("due_at")
    rows = rows.exclude(_is_handled_by_batch(now))
    due = list(rows.filter(due_at__lte=now)[:limit])
    # Built only if needed, because Django takes longer to build it than the database to run it.
    due = due or list(rows.filter(_has_impossible_time(now))[:limit])
    if due:
        return due
    postponed = rows.filter(_might_be_postponed(now))
    return list(islice(_find_postponed(postponed, now=now), limit))


def _has_impossible_time(now: datetime) -> Q:
    """Whether `due_at` or `expires_at` is later than any that is set, so a wrong clock set it."""
    is_impossible = Q()
    for state, window in _DUE_WITHIN.items():
        is_impossible |= Q(state=state, due_at__gt=now + window + clock.TOLERANCE)
    for state, window in states.EXPIRES_WITHIN.items():
        is_impossible |= Q(state=state, expires_at__gt=now + window + clock.TOLERANCE)
    return is_impossible


def _might_be_postponed(now: datetime) -> Q:
    """Whether the row has times in the future and waits for a check that is not in progress."""
    ahead = now + clock.TOLERANCE
    return Q(
        Q(sending_at__gt=ahead) | Q(settled_at__gt=ahead),
        state__in=[State.UNKNOWN, State.STILL_PRESENT, State.SETTLED],
        due_at__gt=ahead + time_limits.CLAIM_TIMEOUT,
    )


def _find_postponed(rows: QuerySet[Deletion], *, now: datetime) -> Iterator[Deletion]:
    """The rows without an event since the clock was set back.

    Their `due_at` is from before that too.
    """
    for chunk in batched(rows, CHUNK_SIZE):
        newest_at = audit.newest_at(chunk)
        for deletion in chunk:
            at = newest_at.get(deletion.pk)
            if at and clock.is_ahead(at, now=now):
                yield deletion


def run_due(*, actor: Actor, limit: int = BATCH_SIZE) -> list[Deletion]:
    """Do what is due once: expire, send, mark lost attempts as unknown, check, verify.

    Handles at most `limit`, so that a worker can stop in between. Returns the deletions handled.
    Never sleeps. After an ambiguous attempt, nothing is sent again unless a person checked and
    confirmed it again.
    """
    processed: list[Deletion] = []
    now = clock.now()
    for deletion in list_due_deletions(now=now, limit=limit):
        if processed:
            # Read again, because Datadog might have taken seconds to respond.
            now = clock.now()
        if not _reserve(deletion, now=now):
            continue
        if processed:
            # Another process might have changed it while earlier rows were handled.
            deletion.refresh_from_db(from_queryset=_with_credential())
        with logs.about(deletion=deletion.pk, batch=deletion.batch_id):
            run_deletion(deletion=deletion, actor=actor, now=now)
        processed.append(deletion)
    return processed


def reconcile_all(*, actor: Actor) -> list[Deletion]:
    """Check every deletion whose outcome is unknown or not verified once, due or not.

    Never sends a DELETE and never sleeps. Returns the deletions checked.
    """
    unclear = Q(state__in=[State.SENDING, State.UNKNOWN, State.STILL_PRESENT], settled_at=None)
    is_check_due = Q(state=State.SETTLED, due_at__isnull=False)
    deletions = list(Deletion.objects.filter(unclear | is_check_due))
    for deletion in deletions:
        if deletion.state == State.SENDING:
            reconciliation.expire_lost_claim(change_request=deletion, actor=actor)
        if deletion.state in {State.UNKNOWN, State.STILL_PRESENT}:
            reconciliation.reconcile_unknown(change_request=deletion, actor=actor)
        elif deletion.is_settled:
            action_of(deletion).verify(deletion, actor=actor)
    return deletions


def _reserve(deletion: Deletion, *, now: datetime) -> bool:
    """Postpone the due time, so that other workers skip this row in the meantime.

    Returns False if the row has changed since it was read.
    """
    due_at = now + time_limits.CLAIM_TIMEOUT
    as_read = {"state": deletion.state, "epoch": deletion.epoch, "due_at": deletion.due_at}
    is_reserved = bool(Deletion.objects.filter(pk=deletion.pk, **as_read).update(due_at=due_at))
    if is_reserved:
        deletion.due_at = due_at
    return is_reserved


def _with_credential() -> QuerySet[Deletion]:
    return Deletion.objects.select_related("credential")


def run_deletion(*, deletion: Deletion, actor: Actor, now: datetime | None = None) -> None:
    """Do what is due for this deletion.

    `now` is the database time, if the caller has just read it.
    """
    now = now or clock.now()
    lifecycle.lapse_approvals(change_request=deletion, actor=actor, now=now)
    if deletion.state == State.SENDING:
        reconciliation.expire_lost_claim(change_request=deletion, actor=actor)
    elif lifecycle.expire(change_request=deletion, actor=actor, now=now):
        return
    elif deletion.state == State.WAITING:
        _send_waiting(deletion=deletion, actor=actor)
    elif deletion.state in {State.UNKNOWN, State.STILL_PRESENT}:
        reconciliation.reconcile_unknown(change_request=deletion, actor=actor)
    elif deletion.is_settled:
        action_of(deletion).verify(deletion, actor=actor, now=now)


def _send_waiting(*, deletion: Deletion, actor: Actor) -> None:
    try:
        sending.send(change_request=deletion, actor=actor)
    except UnavailableError as error:
        rechecks.record_recheck_failure(
            change_request=deletion, result=SyncResult(cause=error.cause), actor=actor
        )
    except BlockedError as blocked:
        sending.record_blocked(change_request=deletion, blocked=blocked, actor=actor)
