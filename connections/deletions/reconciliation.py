"""Finding out by listing what became of a deletion. Nothing here ever sends a DELETE."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db.models import Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import ConflictError
from connections.deletions import states, verification
from connections.deletions.states import EventDraft, Transition
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.models import Credential, Deletion, OrgConnectionSnapshot, Outcome, State
from connections.wording import attempt_facts


def check_deletion(*, deletion: Deletion, actor: Actor) -> Deletion:
    """Look at Datadog's list now and settle what it proves: the "Check with Datadog" act.

    A sending whose process recorded no answer within 60 s becomes unknown first. Raises
    PermissionDenied, and ConflictError when a listing could prove nothing about this deletion.
    """
    permissions.require(
        permissions.can_use(actor, credential_id=deletion.credential_id),
        "check a deletion with Datadog",
    )
    if deletion.state == State.SENDING:
        give_up_lost_claim(deletion=deletion, actor=actor)
    if deletion.state in {State.UNKNOWN, State.STILL_PRESENT}:
        reconcile_unknown(deletion=deletion, actor=actor)
    elif deletion.outcome in {Outcome.DELETED, Outcome.ALREADY_ABSENT, Outcome.GONE_UNATTRIBUTED}:
        verify_deleted(deletion=deletion, actor=actor)
    elif deletion.state == State.SENDING:
        raise ConflictError("It is being sent right now. Wait for the answer.")
    else:
        raise ConflictError("In this state there is nothing to check with Datadog.")
    return deletion


def give_up_lost_claim(*, deletion: Deletion, actor: Actor) -> bool:
    """Turn a claim that recorded no answer within 60 s into an unknown; True when it did."""
    now = clock.now()
    started = deletion.sending_at
    if deletion.state != State.SENDING or not started:
        return False
    if clock.elapsed_since(started, now=now) < states.CLAIM_TIMEOUT:
        return False
    sentence = (
        f"No response was recorded within 60 s. {deletion.description} might have been deleted."
    )
    return states.apply(
        deletion=deletion,
        actor=actor,
        to=Transition(state=State.UNKNOWN, cause=Cause.ANSWER_LOST),
        notes=[EventDraft(code=audit.EventCode.DELETION_UNKNOWN, sentence=sentence)],
        due_at=states.next_check_at(sending_at=started, now=now),
    )


def reconcile_unknown(*, deletion: Deletion, actor: Actor) -> None:
    """One look at an unknown, or at one that is still present.

    After a late 200 one complete listing without the connection is enough. Otherwise two complete
    listings that agree decide: the first at least 35 s after the sending began, the second at
    least 60 s after the first. Anything less leaves the deletion as it is.
    """
    reading = verification.list_with_any_credential(deletion=deletion, actor=actor)
    now = clock.now()
    sending_at = states.sending_began(deletion, now=now)
    seen_at = reading.started_at or now
    present = verification.is_listed(deletion=deletion, reading=reading)
    counts = present is not None and seen_at - sending_at >= states.FIRST_CHECK_DELAY
    looked_ahead = deletion.last_checked_at is not None and clock.is_ahead(
        deletion.last_checked_at, now=now
    )
    decided = (
        counts
        and deletion.last_checked_at is not None
        and not looked_ahead
        and deletion.last_check_listed == present
        and seen_at - deletion.last_checked_at >= states.SECOND_CHECK_DELAY
    )
    due_at = states.next_check_at(sending_at=sending_at, now=now)
    if deletion.expires_at:
        due_at = min(due_at, deletion.expires_at)
    values: dict[str, object] = {"due_at": due_at}
    if counts and (deletion.last_check_listed != present or looked_ahead or decided):
        values |= {"last_checked_at": seen_at, "last_check_listed": present}
    with responses_locked(deletion=deletion):
        if present is False and deletion.has_late_success:
            settle_late_success(
                deletion=deletion,
                actor=actor,
                cause=Cause.LATER_LISTING,
                seen_at=seen_at,
                looked=[verification.check_event(deletion=deletion, reading=reading)],
            )
            return
        to = _after_check(deletion=deletion, present=present, counts=counts, decided=decided)
        _apply_check(deletion=deletion, actor=actor, to=to, reading=reading, values=values)


def _after_check(
    *, deletion: Deletion, present: bool | None, counts: bool, decided: bool
) -> Transition:
    if deletion.state == State.STILL_PRESENT and counts and not present:
        return _gone(Cause.LATER_LISTING)
    if deletion.state == State.UNKNOWN and decided:
        if present:
            return Transition(state=State.STILL_PRESENT, cause=Cause.LISTINGS_AGREE)
        return _gone(Cause.LISTINGS_AGREE)
    return Transition(state=State(deletion.state), cause=deletion.cause)


def _gone(cause: Cause) -> Transition:
    return Transition(state=State.SETTLED, outcome=Outcome.GONE_UNATTRIBUTED, cause=cause)


def _apply_check(
    *,
    deletion: Deletion,
    actor: Actor,
    to: Transition,
    reading: SyncResult,
    values: dict[str, object],
) -> None:
    looked = verification.check_event(deletion=deletion, reading=reading)
    if to.state == deletion.state:
        kept = deletion.cause_details | {"last_look": looked.details}
        states.apply(
            deletion=deletion,
            actor=actor,
            to=to,
            notes=[looked],
            **values | {"cause_details": kept},
        )
        return
    code = audit.EventCode.DELETION_STILL_PRESENT
    sentence = f"Two listings agree: {deletion.description} is still there."
    if to.state == State.SETTLED:
        code = audit.EventCode.DELETION_SETTLED
        attempts = attempt_facts.attempts_of(deletion)
        sentence = (
            f"{deletion.description} is no longer listed. This does not prove that this request "
            f"deleted it. {attempt_facts.earlier_attempts(attempts)}".strip()
        )
        values.pop("due_at")
    states.apply(
        deletion=deletion,
        actor=actor,
        to=to,
        notes=[looked, EventDraft(code=code, sentence=sentence)],
        **values,
    )


@contextmanager
def responses_locked(*, deletion: Deletion) -> Iterator[None]:
    """One act during which no response to the deletion's attempts can be recorded.

    What is decided from its attempts inside is still true at the commit. `record_answer` locks the
    same row; without that, a 200 recorded after they were read would go unnoticed.
    """
    with audit.atomic():
        # Credentials before the deletion, as wherever both are locked.
        sync.lock_snapshots(site=deletion.site)
        Deletion.objects.select_for_update(no_key=True).values_list("pk").get(pk=deletion.pk)
        yield


def settle_late_success(
    *,
    deletion: Deletion,
    actor: Actor,
    cause: Cause,
    seen_at: datetime,
    looked: Sequence[EventDraft] = (),
) -> None:
    """Settle as deleted: Datadog returned 200 late, and a complete listing lacks the connection.

    That listing, begun at `seen_at`, verifies it too.
    """
    attempts = attempt_facts.attempts_of(deletion)
    sentence = (
        f"{deletion.description}: deleted. {attempt_facts.earlier_attempts(attempts)} "
        "A complete listing no longer shows the connection."
    )
    with audit.atomic():
        # Before the deletion's own row, as wherever both are held.
        sync.lock_snapshots(site=deletion.site)
        settled = states.apply(
            deletion=deletion,
            actor=actor,
            to=Transition(state=State.SETTLED, outcome=Outcome.DELETED, cause=cause),
            notes=[*looked, EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence)],
        )
        if settled:
            _note_verified(deletion=deletion, actor=actor, at=seen_at)
    deletion.refresh_from_db()


def verify_deleted(*, deletion: Deletion, actor: Actor) -> None:
    """Look whether a connection settled as gone is gone from the list: the proof of effect.

    Absent from a complete listing sets `verified_at`. Still listed 5 minutes or more after the
    answer sets `contradicted_at`, and whoever has seen it lists again, so that the inventory shows
    it too. The outcome is never rewritten.
    """
    reading = verification.list_with_any_credential(deletion=deletion, actor=actor)
    seen_at = reading.started_at or clock.now()
    present = verification.is_listed(deletion=deletion, reading=reading)
    was_contradicted = deletion.contradicted_at is not None
    with audit.atomic():
        rows = Deletion.objects.filter(pk=deletion.pk, state=State.SETTLED)
        if present is not False:
            looked = verification.check_event(deletion=deletion, reading=reading)
            audit.record(
                code=looked.code,
                actor=actor,
                subject=deletion,
                sentence=looked.sentence,
                details=looked.details,
            )
            rows.update(cause_details={"last_look": looked.details})
        if present is None:
            now = clock.now()
            settled_at = states.settling_happened(deletion, now=now)
            rows.update(due_at=_next_proof_of(deletion=deletion, settled_at=settled_at, now=now))
        elif present:
            _note_still_listed(deletion=deletion, actor=actor, at=seen_at, seen_by=reading.seen_by)
        else:
            _note_verified(deletion=deletion, actor=actor, at=seen_at)
    deletion.refresh_from_db()
    if deletion.contradicted_at and not was_contradicted:
        sync_observing_credentials(deletion=deletion, actor=actor)


def _next_proof_of(*, deletion: Deletion, settled_at: datetime, now: datetime) -> datetime | None:
    if deletion.outcome != Outcome.DELETED or deletion.verified_at:
        return None
    return states.next_verification_at(settled_at=settled_at, now=now)


def _note_verified(*, deletion: Deletion, actor: Actor, at: datetime) -> None:
    sync.lock_snapshots(site=deletion.site)
    rows = Deletion.objects.filter(pk=deletion.pk)
    looked: dict[str, object] = {"last_checked_at": at, "last_check_listed": False, "due_at": None}
    # By what is stored now: another process may have verified it meanwhile. After a clock was set
    # back, what a later listing verified stands.
    unverified = rows.filter(Q(verified_at=None) | Q(last_check_listed=True, verified_at__lt=at))
    is_first = bool(unverified.update(verified_at=at, **looked))
    if not is_first:
        rows.update(**looked)
    OrgConnectionSnapshot.objects.filter(
        site=deletion.site,
        connection_id=deletion.connection_id,
        is_current=True,
        last_seen_at__lt=at,
    ).update(is_current=False)
    if is_first:
        audit.record(
            code=audit.EventCode.DELETION_VERIFIED,
            actor=actor,
            subject=deletion,
            sentence=f"A complete listing lacks {deletion.description}.",
            details={"at": at.isoformat()},
        )


def _note_still_listed(*, deletion: Deletion, actor: Actor, at: datetime, seen_by: str) -> None:
    settled_at = states.settling_happened(deletion, now=at)
    due_at = _next_proof_of(deletion=deletion, settled_at=settled_at, now=at)
    waited = at - settled_at >= states.CONTRADICTED_AFTER
    if waited or deletion.outcome != Outcome.DELETED or deletion.verified_at:
        due_at = None
        sync.mark(deletion=deletion, at=at, seen_by=seen_by, actor=actor)
    Deletion.objects.filter(pk=deletion.pk).update(
        last_checked_at=at, last_check_listed=True, due_at=due_at
    )


def sync_observing_credentials(*, deletion: Deletion, actor: Actor) -> None:
    """Every credential that has seen the connection lists again: after a 404 or a contradiction.

    One that still lists it contradicts a 404, which storing its listing notices.
    """
    seen_by = OrgConnectionSnapshot.objects.filter(
        site=deletion.site, connection_id=deletion.connection_id
    ).values("credential")
    credentials = Credential.objects.filter(retired_at=None, pk__in=seen_by)
    sync.refresh_credentials(credentials=list(credentials), actor=actor)
    deletion.refresh_from_db()


def lapse_approvals(*, deletion: Deletion, actor: Actor) -> bool:
    """Begin a new round for one still present whose window has passed; True when it did.

    It stays still present: the same people may approve again.
    """
    now = clock.now()
    is_still_present = deletion.state == State.STILL_PRESENT
    if not is_still_present or not states.has_expired(deletion, now=now):
        return False
    return end_round(deletion=deletion, actor=actor, why="were not confirmed within 24 h")


def end_round(*, deletion: Deletion, actor: Actor, why: str) -> bool:
    """Let the approvals of one still present no longer count; `why` completes the sentence."""
    given = states.approvals_given(deletion).count()
    note = EventDraft(
        code=audit.EventCode.DELETION_APPROVALS_LAPSED,
        sentence=f"Approvals for another DELETE of {deletion.description} {why}. "
        "They no longer count; no new DELETE was sent.",
        details={"approval_round": deletion.approval_round, "approvals_given": given},
    )
    return states.apply(
        deletion=deletion,
        actor=actor,
        to=Transition(state=State.STILL_PRESENT, cause=deletion.cause),
        notes=[note],
        **states.next_round(deletion),
    )


def expire(*, deletion: Deletion, actor: Actor) -> bool:
    """End what nobody approved, confirmed or could send in time; True when it did."""
    now = clock.now()
    if not states.has_expired(deletion, now=now):
        return False
    if deletion.state == State.WAITING:
        to = states.stop_trying(cause=Cause.TOO_LATE, was_ambiguous=deletion.has_ambiguous_attempt)
    elif deletion.state == State.APPROVED:
        to = _expired(Cause.NOT_CONFIRMED_IN_TIME)
    elif deletion.state == State.REQUESTED:
        needs_approval = states.approvals_needed(deletion) > 0
        to = _expired(Cause.NOT_APPROVED_IN_TIME if needs_approval else Cause.NOT_CONFIRMED_IN_TIME)
    else:
        return False
    is_unknown = to.state == State.UNKNOWN
    code = audit.EventCode.DELETION_UNKNOWN if is_unknown else audit.EventCode.DELETION_SETTLED
    sentence = (
        f"The time for {deletion.description} ran out: {to.cause.replace('_', ' ')}. "
        f"{attempt_facts.in_full_of(deletion)}"
    )
    due_at = {"due_at": now + timedelta(seconds=60)} if is_unknown else {}
    return states.apply(
        deletion=deletion,
        actor=actor,
        to=to,
        notes=[EventDraft(code=code, sentence=sentence)],
        **due_at,
    )


def _expired(cause: Cause) -> Transition:
    return Transition(state=State.SETTLED, outcome=Outcome.EXPIRED, cause=cause)
