"""Alarms that no act raises by itself: something has been as it is for too long."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import batched, islice

from django.db import connection
from django.db.models import Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import BlockedError, UnavailableError
from connections.deletions import reconciliation, sending, states
from connections.deletions.states import EventDraft
from connections.inventory.sync import SyncResult
from connections.models import AMBIGUOUS, Deletion, Outcome, State
from connections.wording import attempt_facts

# An unknown this old was looked at a dozen times: a person should do something about it.
UNKNOWN_FOR = timedelta(hours=1)


def raise_alarms(*, actor: Actor) -> list[Deletion]:
    """Put on the record, once, that a deletion is still unknown; gives those it was said of.

    Raises what the database raises.
    """
    now = clock.now()
    # One from the future was sent before the clock was set back.
    may_be_old = Q(sending_at__lte=now - UNKNOWN_FOR) | Q(sending_at__gt=now + clock.TOLERANCE)
    unknown = Deletion.objects.filter(may_be_old, state=State.UNKNOWN, settled_at=None)
    return [
        deletion
        for deletion in unknown
        if now - states.sending_started_at(deletion, now=now) >= UNKNOWN_FOR
        and _raise_once(deletion, actor=actor)
    ]


def _raise_once(deletion: Deletion, *, actor: Actor) -> bool:
    if _is_recorded(deletion):
        return False
    with audit.atomic():
        # Held, so that of two workers one says it.
        held = Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
        if held.state != State.UNKNOWN or _is_recorded(held):
            return False
        audit.record(
            code=audit.EventCode.DELETION_STILL_UNKNOWN,
            actor=actor,
            subject=held,
            sentence="An hour after the sending it is not known what became of "
            f"{held.description}.",
        )
    return True


def _is_recorded(deletion: Deletion) -> bool:
    """Whether it was said since the last sending."""
    codes = [event.code for event in audit.events_of(subject=deletion)]
    last_sending = max(
        (place for place, code in enumerate(codes) if code == audit.EventCode.DELETION_SENDING),
        default=0,
    )
    return audit.EventCode.DELETION_STILL_UNKNOWN in codes[last_sending:]


BATCH = 20
# So many rows that may be put off share one query for their newest events.
CHUNK = 200


def due_deletions(*, now: datetime, limit: int = BATCH) -> list[Deletion]:
    """Deletions whose time has come, longest due first; last, those a wrong clock put off."""
    rows = Deletion.objects.filter(due_at__isnull=False).order_by("due_at")
    rows = rows.select_related("credential")
    due = list(rows.filter(_is_due(now))[:limit])
    if len(due) == limit:
        return due
    put_off = rows.filter(_may_be_put_off(now)).exclude(pk__in=[deletion.pk for deletion in due])
    return due + list(islice(_put_off(put_off, now=now), limit - len(due)))


def _is_due(now: datetime) -> Q:
    """That `due_at` has come, or lies further ahead than it is ever set, or `expires_at` does."""
    is_due = Q(due_at__lte=now)
    for state, window in states.DUE_WITHIN.items():
        is_due |= Q(state=state, due_at__gt=now + window + clock.TOLERANCE)
    for state, window in states.EXPIRES_WITHIN.items():
        is_due |= Q(state=state, expires_at__gt=now + window + clock.TOLERANCE)
    return is_due


def _may_be_put_off(now: datetime) -> Q:
    """That a listing is awaited by a row with times in the future, and none is under way."""
    ahead = now + clock.TOLERANCE
    return Q(
        Q(sending_at__gt=ahead) | Q(settled_at__gt=ahead),
        state__in=[State.UNKNOWN, State.STILL_PRESENT, State.SETTLED],
        due_at__gt=ahead + states.CLAIM_TIMEOUT,
    )


def _put_off(rows: QuerySet[Deletion], *, now: datetime) -> Iterator[Deletion]:
    """Those of which nothing was recorded since the clock was set back, so neither was `due_at`."""
    for some in batched(rows.iterator(chunk_size=CHUNK), CHUNK):
        newest_at = audit.newest_at(deletions=some)
        for deletion in some:
            at = newest_at.get(deletion.pk)
            if at and clock.is_ahead(at, now=now):
                yield deletion


def run_due(*, actor: Actor, limit: int = BATCH) -> list[Deletion]:
    """Do once what is due: expire, send waiting ones, give up lost claims, look, prove.

    Takes at most `limit`, so that a worker can stop in between. Returns the deletions touched.
    Never sleeps. Nothing is sent again after an ambiguous attempt, but for one that a person
    looked at and confirmed anew.
    """
    touched = []
    for deletion in due_deletions(now=clock.now(), limit=limit):
        if _take(deletion):
            run_deletion(deletion=deletion, actor=actor)
            touched.append(deletion)
    return touched


def reconcile_all(*, actor: Actor) -> list[Deletion]:
    """Look once at everything whose effect is not known or not proved, due or not.

    Never sends a DELETE and never sleeps. Returns the deletions looked at.
    """
    unclear = Q(state__in=[State.SENDING, State.UNKNOWN, State.STILL_PRESENT], settled_at=None)
    unproved = Q(outcome=Outcome.DELETED, verified_at=None, due_at__isnull=False)
    last_checked_at = list(Deletion.objects.filter(unclear | unproved).select_related("credential"))
    for deletion in last_checked_at:
        if deletion.state == State.SENDING:
            reconciliation.give_up_lost_claim(deletion=deletion, actor=actor)
        if deletion.state in {State.UNKNOWN, State.STILL_PRESENT}:
            reconciliation.reconcile_unknown(deletion=deletion, actor=actor)
        elif deletion.outcome == Outcome.DELETED:
            reconciliation.verify_deleted(deletion=deletion, actor=actor)
    return last_checked_at


def _take(deletion: Deletion) -> bool:
    """Push the due time ahead, so that other workers leave this row alone meanwhile."""
    now = clock.now()
    with audit.atomic():
        rows = Deletion.objects.filter(pk=deletion.pk, due_at=deletion.due_at)
        if connection.features.has_select_for_update_skip_locked:
            rows = Deletion.objects.filter(
                pk__in=rows.select_for_update(skip_locked=True, no_key=True).values("pk")
            )
        taken = rows.update(due_at=now + states.CLAIM_TIMEOUT)
    deletion.refresh_from_db()
    return bool(taken)


def run_deletion(*, deletion: Deletion, actor: Actor) -> None:
    """Do the one thing that is due for this deletion."""
    reconciliation.lapse_approvals(deletion=deletion, actor=actor)
    if deletion.state == State.SENDING:
        reconciliation.give_up_lost_claim(deletion=deletion, actor=actor)
    elif reconciliation.expire_deletion(deletion=deletion, actor=actor):
        return
    elif deletion.state == State.WAITING:
        _send_waiting(deletion=deletion, actor=actor)
    elif deletion.state in {State.UNKNOWN, State.STILL_PRESENT}:
        reconciliation.reconcile_unknown(deletion=deletion, actor=actor)
    elif deletion.outcome == Outcome.DELETED:
        reconciliation.verify_deleted(deletion=deletion, actor=actor)


def _send_waiting(*, deletion: Deletion, actor: Actor) -> None:
    try:
        sending.send_deletion(deletion=deletion, actor=actor)
    except UnavailableError as error:
        sending.record_recheck_failure(
            deletion=deletion, result=SyncResult(cause=error.cause), actor=actor
        )
    except BlockedError as blocked:
        transition = states.stop_trying(
            cause=blocked.cause, was_ambiguous=deletion.attempts.filter(AMBIGUOUS).exists()
        )
        why = blocked.cause.replace("_", " ")
        states.apply(
            deletion,
            transition=transition,
            actor=actor,
            # Not in the words of `blocked`, which may name a person.
            events=[
                EventDraft(
                    code=states.event_code(transition),
                    sentence=f"{deletion.description} can no longer be sent: {why}. "
                    f"{attempt_facts.in_full_of(deletion)}",
                )
            ],
        )
