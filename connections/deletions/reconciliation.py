"""Finds the result of a deletion from Datadog's lists. Nothing here ever sends a DELETE."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db.models import Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import ConflictError, UnavailableError
from connections.deletions import states
from connections.deletions.states import (
    BecomeStillPresent,
    BecomeUnknown,
    Check,
    EndRound,
    EventDraft,
    RecordCheck,
    Settle,
)
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.models import Credential, Deletion, OrgConnectionSnapshot, Outcome, State
from connections.wording import attempt_facts


def check_deletion(*, deletion: Deletion, actor: Actor) -> Deletion:
    """Check with Datadog now and settle the deletion where the list proves something.

    An attempt without a recorded response after 60 s becomes unknown first. Raises
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
    """Make a deletion unknown whose claim recorded no response within 60 s; True if it did."""
    now = clock.now()
    started = deletion.sending_at
    if deletion.state != State.SENDING or not started:
        return False
    if clock.elapsed_since(started, now=now) < states.CLAIM_TIMEOUT:
        return False
    sentence = (
        f"No response was recorded within 60 s. {deletion.description} might have been deleted."
    )
    due_at = states.next_check_at(sending_at=started, now=now)
    return states.apply(
        deletion,
        transition=BecomeUnknown(cause=Cause.ANSWER_LOST, due_at=due_at),
        actor=actor,
        events=[EventDraft(code=audit.EventCode.DELETION_UNKNOWN, sentence=sentence)],
    )


def list_with_any_credential(*, deletion: Deletion, actor: Actor) -> SyncResult:
    """Sync with the deletion's credential, else with others, until one result is conclusive.

    Only credentials pinned to the source or destination org can prove absence. All syncs together
    get the deadline of one, since a person and a proxy wait for them.
    """
    deadline = time.monotonic() + sync.SYNC_SECONDS
    result = SyncResult(cause=Cause.CREDENTIAL_RETIRED)
    for credential in _credentials_of_either_org(deletion=deletion):
        try:
            result = sync.sync_org(
                credential=credential,
                actor=actor,
                find=deletion.connection_id,
                deadline_seconds=max(deadline - time.monotonic(), 0.1),
            )
        except UnavailableError as error:
            result = SyncResult(cause=error.cause)
        is_over = time.monotonic() >= deadline
        if is_over or is_listed(deletion=deletion, result=result) is not None:
            break
    return result


def _credentials_of_either_org(*, deletion: Deletion) -> list[Credential]:
    """The deletion's own credential first, then others in use of the source or destination org."""
    orgs = {deletion.source_org_id, deletion.sink_org_id} - {""}
    in_use = Credential.objects.filter(site=deletion.site, retired_at=None)
    found = in_use.filter(Q(pk=deletion.credential_id) | Q(org_id__in=orgs)).order_by("name")
    return sorted(found, key=lambda each: each.pk != deletion.credential_id)


def is_listed(*, deletion: Deletion, result: SyncResult) -> bool | None:
    """True: listed. False: a complete listing lacks it. None: the sync proves nothing."""
    if result.find(deletion.connection_id) is not None:
        return True
    return False if result.is_complete else None


def check_event(*, deletion: Deletion, result: SyncResult) -> EventDraft:
    """The event of one check, whatever it found."""
    listed = is_listed(deletion=deletion, result=result)
    found = {True: "listed", False: "not listed", None: "cannot tell"}[listed]
    return EventDraft(
        code=audit.EventCode.DELETION_CHECKED,
        sentence=f"Looked at Datadog's list for {deletion.description}: {found}.",
        details={
            "found": found,
            "cause": result.cause,
            "http_status": result.http_status,
            "errors": list(result.errors),
            "at": (result.started_at or clock.now()).isoformat(),
        },
    )


def reconcile_unknown(*, deletion: Deletion, actor: Actor) -> None:
    """Check an unknown or still-present deletion once with Datadog, and settle it where proved.

    After a late 200 one complete listing without the connection is enough. Otherwise two complete
    listings must agree: the first at least 35 s after the attempt began, the second at least 60 s
    after the first. Anything less leaves the deletion as it is.
    """
    result = list_with_any_credential(deletion=deletion, actor=actor)
    now = clock.now()
    sending_at = states.sending_started_at(deletion, now=now)
    checked_at = result.started_at or now
    listed = is_listed(deletion=deletion, result=result)
    check = None
    if listed is not None and checked_at - sending_at >= states.FIRST_CHECK_DELAY:
        check = Check(at=checked_at, is_listed=listed)
    due_at = states.next_check_at(sending_at=sending_at, now=now)
    if deletion.expires_at:
        due_at = min(due_at, deletion.expires_at)
    event = check_event(deletion=deletion, result=result)
    with responses_locked(deletion=deletion):
        if listed is False and deletion.has_late_success:
            settle_late_success(
                deletion=deletion,
                actor=actor,
                cause=Cause.LATER_LISTING,
                seen_at=checked_at,
                events=[event],
            )
            return
        transition = _after_check(
            deletion, check=check, now=now, due_at=due_at, details=event.details
        )
        events = [event, *_events_of(transition, deletion=deletion)]
        states.apply(deletion, transition=transition, actor=actor, events=events)


def _after_check(
    deletion: Deletion,
    *,
    check: Check | None,
    now: datetime,
    due_at: datetime,
    details: dict[str, object],
) -> Settle | BecomeStillPresent | RecordCheck:
    """What one check means; `check` is None when it cannot count as one of two."""
    last_at = deletion.last_checked_at
    is_last_ahead = last_at is not None and clock.is_ahead(last_at, now=now)
    agrees = check is not None and deletion.last_check_listed == check.is_listed
    is_decided = (
        check is not None
        and last_at is not None
        and not is_last_ahead
        and agrees
        and check.at - last_at >= states.SECOND_CHECK_DELAY
    )
    # The first of two that may agree stays: the second is measured from it.
    kept = None if agrees and not is_last_ahead and not is_decided else check
    if check and deletion.state == State.STILL_PRESENT and not check.is_listed:
        return _gone(Cause.LATER_LISTING, check=kept)
    if check and deletion.state == State.UNKNOWN and is_decided:
        if check.is_listed:
            return BecomeStillPresent(check=check, due_at=due_at)
        return _gone(Cause.LISTINGS_AGREE, check=kept)
    return RecordCheck(details=details, due_at=due_at, check=kept)


def _gone(cause: Cause, *, check: Check | None) -> Settle:
    return Settle(outcome=Outcome.GONE_UNATTRIBUTED, cause=cause, check=check)


def _events_of(
    transition: Settle | BecomeStillPresent | RecordCheck, *, deletion: Deletion
) -> list[EventDraft]:
    match transition:
        case BecomeStillPresent():
            code = audit.EventCode.DELETION_STILL_PRESENT
            sentence = f"Two listings agree: {deletion.description} is still there."
        case Settle():
            code = audit.EventCode.DELETION_SETTLED
            attempts = attempt_facts.attempts_of(deletion)
            sentence = (
                f"{deletion.description} is no longer listed. This does not prove that this "
                f"request deleted it. {attempt_facts.earlier_attempts(attempts)}".strip()
            )
        case RecordCheck():
            return []
    return [EventDraft(code=code, sentence=sentence)]


@contextmanager
def responses_locked(*, deletion: Deletion) -> Iterator[None]:
    """A transaction during which no response to the deletion's attempts can be recorded.

    What is decided from its attempts inside is still true at the commit. `record_response` locks
    the same row; without that, a 200 recorded after they were read would go unnoticed.
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
    events: Sequence[EventDraft] = (),
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
        # Before the deletion's own row, as wherever both are locked.
        sync.lock_snapshots(site=deletion.site)
        settled = states.apply(
            deletion,
            transition=Settle(outcome=Outcome.DELETED, cause=cause),
            actor=actor,
            events=[*events, EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence)],
        )
        if settled:
            _record_verified(deletion=deletion, actor=actor, at=seen_at)
    deletion.refresh_from_db()


def verify_deleted(*, deletion: Deletion, actor: Actor) -> None:
    """Check whether a connection that was settled as gone is gone from Datadog's list.

    Absent from a complete listing sets `verified_at`. Still listed 5 minutes or more after the
    response sets `contradicted_at`, and every credential that has seen it syncs, so that the
    inventory shows it too. The outcome is never rewritten.
    """
    result = list_with_any_credential(deletion=deletion, actor=actor)
    seen_at = result.started_at or clock.now()
    listed = is_listed(deletion=deletion, result=result)
    was_contradicted = deletion.contradicted_at is not None
    with audit.atomic():
        rows = Deletion.objects.filter(pk=deletion.pk, state=State.SETTLED)
        if listed is not False:
            event = check_event(deletion=deletion, result=result)
            audit.record(
                code=event.code,
                actor=actor,
                subject=deletion,
                sentence=event.sentence,
                details=event.details,
            )
            rows.update(cause_details={"last_look": event.details})
        if listed is None:
            now = clock.now()
            settled_at = states.settled_at_latest(deletion, now=now)
            rows.update(
                due_at=_next_verification_at(deletion=deletion, settled_at=settled_at, now=now)
            )
        elif listed:
            _record_still_listed(deletion=deletion, actor=actor, at=seen_at, seen_by=result.seen_by)
        else:
            _record_verified(deletion=deletion, actor=actor, at=seen_at)
    deletion.refresh_from_db()
    if deletion.contradicted_at and not was_contradicted:
        sync_observing_credentials(deletion=deletion, actor=actor)


def _next_verification_at(
    *, deletion: Deletion, settled_at: datetime, now: datetime
) -> datetime | None:
    if deletion.outcome != Outcome.DELETED or deletion.verified_at:
        return None
    return states.next_verification_at(settled_at=settled_at, now=now)


def _record_verified(*, deletion: Deletion, actor: Actor, at: datetime) -> None:
    sync.lock_snapshots(site=deletion.site)
    rows = Deletion.objects.filter(pk=deletion.pk)
    checked: dict[str, object] = {"last_checked_at": at, "last_check_listed": False, "due_at": None}
    # By what is stored now: another process may have verified it meanwhile. After a clock was set
    # back, what a later listing verified stands.
    unverified = rows.filter(Q(verified_at=None) | Q(last_check_listed=True, verified_at__lt=at))
    is_first = bool(unverified.update(verified_at=at, **checked))
    if not is_first:
        rows.update(**checked)
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


def _record_still_listed(*, deletion: Deletion, actor: Actor, at: datetime, seen_by: str) -> None:
    settled_at = states.settled_at_latest(deletion, now=at)
    due_at = _next_verification_at(deletion=deletion, settled_at=settled_at, now=at)
    waited = at - settled_at >= states.CONTRADICTED_AFTER
    if waited or deletion.outcome != Outcome.DELETED or deletion.verified_at:
        due_at = None
        sync.flag_contradiction(deletion=deletion, at=at, seen_by=seen_by, actor=actor)
    Deletion.objects.filter(pk=deletion.pk).update(
        last_checked_at=at, last_check_listed=True, due_at=due_at
    )


def sync_observing_credentials(*, deletion: Deletion, actor: Actor) -> None:
    """Sync with every credential that has seen the connection: after a 404 or a contradiction.

    One that still lists it contradicts a 404; storing its sync records that.
    """
    seen_by = OrgConnectionSnapshot.objects.filter(
        site=deletion.site, connection_id=deletion.connection_id
    ).values("credential")
    credentials = Credential.objects.filter(retired_at=None, pk__in=seen_by)
    sync.sync_credentials(credentials=list(credentials), actor=actor)
    deletion.refresh_from_db()


def lapse_approvals(*, deletion: Deletion, actor: Actor) -> bool:
    """Begin a new approval round for a still-present deletion that expired; True if it did.

    It stays still present: the same people may approve again.
    """
    now = clock.now()
    is_still_present = deletion.state == State.STILL_PRESENT
    if not is_still_present or not states.has_expired(deletion, now=now):
        return False
    return end_approval_round(deletion=deletion, actor=actor, why="were not confirmed within 24 h")


def end_approval_round(*, deletion: Deletion, actor: Actor, why: str) -> bool:
    """End the approval round of a still-present deletion; `why` completes the sentence."""
    given = states.approvals_given(deletion).count()
    event = EventDraft(
        code=audit.EventCode.DELETION_APPROVALS_LAPSED,
        sentence=f"Approvals for another DELETE of {deletion.description} {why}. "
        "They no longer count; no new DELETE was sent.",
        details={"approval_round": deletion.approval_round, "approvals_given": given},
    )
    return states.apply(deletion, transition=EndRound(), actor=actor, events=[event])


def expire_deletion(*, deletion: Deletion, actor: Actor) -> bool:
    """Settle a deletion that was not approved, confirmed or sent in time; True if it did."""
    now = clock.now()
    can_expire = deletion.state in {State.REQUESTED, State.APPROVED, State.WAITING}
    if not can_expire or not states.has_expired(deletion, now=now):
        return False
    transition: Settle | BecomeUnknown
    if deletion.state == State.WAITING:
        transition = states.stop_trying(
            cause=Cause.TOO_LATE,
            was_ambiguous=deletion.has_ambiguous_attempt,
            due_at=now + timedelta(seconds=60),
        )
    elif deletion.state == State.APPROVED or states.approvals_needed(deletion) == 0:
        transition = Settle(outcome=Outcome.EXPIRED, cause=Cause.NOT_CONFIRMED_IN_TIME)
    else:
        transition = Settle(outcome=Outcome.EXPIRED, cause=Cause.NOT_APPROVED_IN_TIME)
    sentence = (
        f"The time for {deletion.description} ran out: {transition.cause.replace('_', ' ')}. "
        f"{attempt_facts.in_full_of(deletion)}"
    )
    event = EventDraft(code=states.event_code(transition), sentence=sentence)
    return states.apply(deletion, transition=transition, actor=actor, events=[event])
