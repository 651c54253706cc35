"""Sends the DELETE of a confirmed deletion: pre-send check, claim, request, response.

Everything that can send a DELETE goes through this module.
"""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, takewhile
from pathlib import Path
from uuid import UUID

from django.db import DataError, IntegrityError, connection
from django.db.models import Exists

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.core import clock, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import (
    BlockedError,
    ResponseLocation,
    ResponseNotRecordedError,
)
from connections.core.private_files import PrivateFileError
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult, DeleteResponse
from connections.deletions import (
    attempt_facts,
    failpoints,
    interruption,
    saved_responses,
    states,
    verification,
)
from connections.deletions.failpoints import Point
from connections.deletions.saved_responses import UnusableFileError
from connections.deletions.states import BecomeUnknown, Claim, Settle, Wait
from connections.deletions.texts import label_of_outcome
from connections.deletions.verification import RecheckResult
from connections.inventory import fetching, protections, rate_limits, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    AMBIGUOUS,
    ApprovalPolicy,
    Attempt,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Outcome,
    Person,
    State,
)
from connections.net.http import pool

logger = logging.getLogger(__name__)


@pool()
def send_deletion(
    *,
    deletion: Deletion,
    actor: Actor,
    client: DatadogClient | None = None,
    skip_recheck: bool = False,
    result: SyncResult | None = None,
    now: datetime | None = None,
) -> Deletion:
    """Send a confirmed deletion once, if it is still what was reviewed.

    `client` is used for the pre-send check; pass one if the caller has already run the checks in
    `require_sendable`. The claim runs those checks again. `skip_recheck` means that the person
    chose to send although the pre-send check failed. `result` is the sync that this same action has
    just made, so that Datadog isn't queried twice. `now` is the database time, if the caller has
    just read it.

    Returns the deletion with the recorded response, which is not verified yet: `due_at` is now, for
    the worker. Never raises for a failure at Datadog. Raises BlockedError when a person involved
    lost the permission, the credential is retired or the connection is protected, and
    UnavailableError; each before anything is sent. Raises ResponseNotRecordedError when it was sent
    but the database did not store the response.
    """
    claimed = check_and_claim(
        deletion=deletion,
        actor=actor,
        client=client,
        skip_recheck=skip_recheck,
        result=result,
        now=now,
    )
    if claimed is None:
        return deletion
    response = send_claimed(claimed)
    failpoints.hit(Point.AFTER_RESPONSE, deletion_id=deletion.pk)
    record_or_save(attempt=claimed.attempt, response=response, actor=actor)
    failpoints.hit(Point.AFTER_RESULT, deletion_id=deletion.pk)
    interruption.end_sending()
    return claimed.attempt.deletion


@dataclass(frozen=True, kw_only=True)
class ClaimedAttempt:
    """A recorded attempt whose DELETE this process must send now, exactly once."""

    attempt: Attempt
    # Has the keys whose fingerprint the attempt records.
    client: DatadogClient
    # From `time.monotonic()`, read before the claim.
    began_at: float


def check_and_claim(
    *,
    deletion: Deletion,
    actor: Actor,
    client: DatadogClient | None = None,
    skip_recheck: bool = False,
    result: SyncResult | None = None,
    is_shared: bool = False,
    now: datetime | None = None,
) -> ClaimedAttempt | None:
    """The part of `send_deletion` up to the claim. None if nothing can be sent.

    `is_shared` means that `result` checked other deletions too, so the claim requires it to be
    recent.
    """
    was_rechecked = False
    if not skip_recheck:
        if result is None:
            client = client or require_sendable(
                deletion=deletion, confirmed_by=deletion.confirmed_by
            )
            result = fetching.fetch(
                credential=deletion.credential,
                client=client,
                find=deletion.connection_id,
                now=now,
            )
            storing.store(result, actor=actor)
        found = verification.compare(deletion=deletion, result=result)
        if found.result == RecheckResult.UNREADABLE and deletion.is_reviewed:
            verification.record_recheck_failure(deletion=deletion, result=result, actor=actor)
            return None
        if not found.can_be_approved:
            verification.settle_not_as_reviewed(deletion=deletion, found=found, actor=actor)
            return None
        was_rechecked = found.result == RecheckResult.SAME
    failpoints.hit(Point.BEFORE_CLAIM, deletion_id=deletion.pk)
    claimed = claim(
        deletion=deletion,
        actor=actor,
        was_rechecked=was_rechecked,
        shared_check_at=result.started_at if result and is_shared else None,
    )
    if claimed:
        failpoints.hit(Point.AFTER_CLAIM, deletion_id=deletion.pk)
    return claimed


def send_claimed(claimed: ClaimedAttempt) -> DeleteResponse:
    """Send the DELETE of an attempt. Doesn't use the database, so threads can call it."""
    connection_id = claimed.attempt.deletion.connection_id
    return _send(client=claimed.client, connection_id=connection_id, began_at=claimed.began_at)


def _send(*, client: DatadogClient, connection_id: UUID, began_at: float) -> DeleteResponse:
    # A process that was paused after its claim must not send once others have given the claim up.
    # So the deadline starts before the claim, and no request begins after it.
    seconds = time_limits.DELETE_SECONDS - (time.monotonic() - began_at)
    # This is the only line in Org Admin that can delete a connection.
    return client.delete_org_connection(connection_id=str(connection_id), deadline_seconds=seconds)


def require_sendable(*, deletion: Deletion, confirmed_by: Person | None) -> DatadogClient:
    """A client for this deletion, unless a local reason forbids sending it. Makes no request.

    Raises BlockedError when a person involved lost the permission, the credential is retired or the
    connection is protected, and UnavailableError when the keys can't be decrypted.
    """
    deletion.credential = Credential.objects.get(pk=deletion.credential_id)
    blocked = find_block(deletion=deletion, confirmed_by=confirmed_by)
    if blocked:
        raise blocked
    return fetching.open_client(credential=deletion.credential)


def find_block(*, deletion: Deletion, confirmed_by: Person | None) -> BlockedError | None:
    """Why this deletion can't be sent if this person confirms it, or None."""
    involved = (deletion.requested_by_id, confirmed_by.pk if confirmed_by else None)
    try:
        _require_unblocked(deletions=[deletion], people=[pk for pk in involved if pk])
    except BlockedError as blocked:
        return blocked
    return None


def _require_unblocked(*, deletions: Sequence[Deletion], people: Collection[UUID]) -> datetime:
    """Raise BlockedError if one of these confirmed deletions can no longer be sent.

    They share one credential, which is current. `people` requested or confirmed them. Permissions
    are read from the database at every call, because these people, or the approvers, might have
    lost them a moment ago. Returns the time of that read.
    """
    credential = deletions[0].credential
    if credential.is_retired:
        raise BlockedError(
            f"The credential {credential.name} was retired.", cause=Cause.CREDENTIAL_RETIRED
        )
    protected = protections.active_protections_of(
        site=credential.site, connection_ids=[deletion.connection_id for deletion in deletions]
    )
    operators = permissions.people_who_can_delete().filter(pk__in=people)
    # Most credentials have no access list, and its query is slow to build.
    allowed = list(
        operators.values(
            "pk",
            now=clock.now_in_query(),
            is_protected=Exists(protected),
            has_access_list=Exists(credential.access.all()),
        )
    )
    # A command can delete without naming a person.
    is_protected = allowed[0]["is_protected"] if allowed else True
    protection = protected.first() if is_protected else None
    if protection:
        text = protections.protection_text(protection)
        raise BlockedError(text, cause=Cause.CONNECTION_PROTECTED)
    allowed_ids = {each["pk"] for each in allowed}
    if allowed and allowed[0]["has_access_list"]:
        users = permissions.people_who_can_use(credential_id=credential.pk)
        allowed_ids = set(users.filter(pk__in=allowed_ids).values_list("pk", flat=True))
    without_right = set(people) - allowed_ids
    if without_right:
        person = Person.objects.filter(pk__in=without_right)[0]
        text = f"{person} no longer has permission to delete connections."
        raise BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    for deletion in deletions:
        _require_valid_approvals(deletion)
    now: datetime = allowed[0]["now"] if allowed else clock.now()
    return now


def _check_unblocked(deletions: Sequence[Deletion]) -> list[datetime | BlockedError]:
    """For each deletion, the time at which it could be sent, or why it can't be."""
    involved = {
        pk for deletion in deletions for pk in (deletion.requested_by_id, deletion.confirmed_by_id)
    }
    people = [pk for pk in involved if pk]
    try:
        now = _require_unblocked(deletions=deletions, people=people)
    except BlockedError as blocked:
        if len(deletions) == 1:
            return [blocked]
        return [one for deletion in deletions for one in _check_unblocked([deletion])]
    return [now] * len(deletions)


def _require_valid_approvals(deletion: Deletion) -> None:
    """Raise BlockedError if the approvals, or the use of break glass, no longer count."""
    if deletion.policy != ApprovalPolicy.NONE:
        tried = deletion.attempts.filter(AMBIGUOUS, approval_round=deletion.approval_round)
        if tried.exists():
            text = "An attempt under its approvals might have worked."
            raise BlockedError(text, cause=Cause.APPROVALS_MISSING)
    breaker_id = deletion.break_glass_by_id if deletion.break_glass_applies else None
    # Not `deletion.break_glass_by`, which might have been read before the pre-send check.
    breaker = Person.objects.get(pk=breaker_id) if breaker_id else None
    if breaker and not permissions.can_break_glass(person_actor(person=breaker), deletion=deletion):
        text = f"{breaker} can no longer use break glass."
        raise BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    if not deletion.needs_approval:
        return
    approvals = list(states.approvals_given(deletion).select_related("approver"))
    for approval in approvals:
        if not permissions.can_approve(person_actor(person=approval.approver), deletion=deletion):
            text = f"{approval.approver_name} no longer has permission to approve deletions."
            raise BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    if len(approvals) < states.approvals_needed(deletion):
        raise BlockedError("This deletion still needs approval.", cause=Cause.APPROVALS_MISSING)


def claim(
    *,
    deletion: Deletion,
    actor: Actor,
    was_rechecked: bool,
    shared_check_at: datetime | None = None,
) -> ClaimedAttempt | None:
    """Claim the deletion for this process and record the attempt, durably, before it is sent.

    The keys come from the locked credential, which might have been rotated during the pre-send
    check.

    Returns None when another process claimed or changed it first, its time to be sent has passed,
    or the shared check that began at `shared_check_at` is now too old. Nothing can be sent then.
    Raises BlockedError when a permission was lost, the credential was retired or the connection was
    protected during the pre-send check, and UnavailableError when the keys can't be decrypted.
    """
    (claimed,) = claim_together(
        deletions=[deletion],
        actor=actor,
        was_rechecked=was_rechecked,
        shared_check_at=shared_check_at,
    )
    if isinstance(claimed, BlockedError):
        raise claimed
    return claimed


def claim_together(
    *,
    deletions: Sequence[Deletion],
    actor: Actor,
    was_rechecked: bool,
    shared_check_at: datetime | None = None,
    responses: Sequence[tuple[Attempt, DeleteResponse]] = (),
) -> list[ClaimedAttempt | BlockedError | None]:
    """`claim` for deletions of one credential and bulk deletion, in one transaction.

    Each has its own compare-and-swap and attempt, so a deletion that can't be claimed doesn't
    affect the others. Returns for each, in order, what `claim` returns or raises. `responses` are
    recorded first in this transaction, as `record_together` does; their attempts have the same
    credential.
    """
    began_at = time.monotonic()
    first = deletions[0]
    with audit.atomic(durable=True):
        # Locked before credentials and deletions, as everywhere else.
        can_claim = not first.is_run_by_batch or _lock_if_running(first.batch_id)
        if responses:
            _record_locked(responses, actor=actor)
        if not can_claim:
            return [None] * len(deletions)
        credential = (
            # Locked and read with its responses.
            responses[0][0].deletion.credential
            if responses
            else Credential.objects.select_for_update(no_key=True).get(pk=first.credential_id)
        )
        for deletion in deletions:
            deletion.credential = credential
        # After taking the lock, because access might have changed while waiting for it.
        checked = _check_unblocked(deletions)
        blocked = [result for result in checked if isinstance(result, BlockedError)]
        if len(blocked) == len(checked):
            return [*blocked]
        # One client for all: threads can share it, and the keys are decrypted once.
        client = fetching.open_client(credential=credential)
        now = max(result for result in checked if not isinstance(result, BlockedError))
        attempts = _claim_locked(
            deletions=[
                deletion
                for deletion, found in zip(deletions, checked, strict=True)
                if not isinstance(found, BlockedError)
                and _is_in_time(deletion, shared_check_at=shared_check_at, now=now)
            ],
            actor=actor,
            was_rechecked=was_rechecked,
            now=now,
        )
        claimed = {
            attempt.deletion_id: ClaimedAttempt(attempt=attempt, client=client, began_at=began_at)
            for attempt in attempts
        }
        return [
            found if isinstance(found, BlockedError) else claimed.get(deletion.pk)
            for deletion, found in zip(deletions, checked, strict=True)
        ]


def _is_in_time(deletion: Deletion, *, shared_check_at: datetime | None, now: datetime) -> bool:
    """Whether the deletion and its check still allow a claim at this time."""
    if deletion.state == State.SENDING:
        # Read after another process claimed it, so that the compare-and-swap would succeed.
        return False
    if shared_check_at and not _is_recent(shared_check_at, now=now):
        return False
    # If its time ran out during the pre-send check, it expires the next time it is due.
    return not (deletion.state == State.WAITING and states.has_expired(deletion, now=now))


def _claim_locked(
    *, deletions: Sequence[Deletion], actor: Actor, was_rechecked: bool, now: datetime
) -> list[Attempt]:
    """Claim the deletions that are unchanged since they were read.

    Their credential is locked and current.
    """
    # Each claim makes one attempt.
    attempts = {
        deletion.pk: Attempt(
            deletion=deletion,
            number=deletion.epoch + 1,
            epoch=deletion.epoch + 1,
            approval_round=deletion.approval_round,
            credential_name=deletion.credential.name,
            credential_fingerprint=deletion.credential.fingerprint,
            was_rechecked=was_rechecked,
            claimed_at=now,
        )
        for deletion in deletions
    }
    claimed = states.apply_to_unchanged(
        deletions,
        transition=Claim(at=now),
        actor=actor,
        events_of=lambda deletion: [_sending_event(attempts[deletion.pk])],
    )
    stored = Attempt.objects.bulk_create(attempts[each.pk] for each in claimed)
    for deletion in claimed:
        failpoints.hit(Point.INSIDE_CLAIM, deletion_id=deletion.pk)
        interruption.begin_sending(deletion_id=deletion.pk)
    return stored


def _is_recent(shared_check_at: datetime, *, now: datetime) -> bool:
    return clock.elapsed_since(shared_check_at, now=now) <= time_limits.SHARED_CHECK_WINDOW


def _lock_if_running(batch_id: UUID | None) -> bool:
    """Lock the bulk deletion so that a pause waits for this commit.

    Return whether it is running.
    """
    batches = Batch.objects.select_for_update(no_key=True).filter(pk__in=[batch_id])
    return batches.values_list("state", flat=True).get() == BatchState.RUNNING


def _sending_event(attempt: Attempt) -> audit.EventDraft:
    return audit.EventDraft(
        code=audit.EventCode.DELETION_SENDING,
        sentence=audit.Sentence(
            "Sending the DELETE for {connection} (attempt {number}).",
            number=attempt.number,
            connection=attempt.deletion.description,
        ),
        details={
            "attempt": attempt.number,
            "epoch": attempt.epoch,
            "approval_round": attempt.approval_round,
            "was_rechecked": attempt.was_rechecked,
        },
        rows={f"attempt {attempt.number}": audit.row_of(attempt)},
    )


def record_blocked(*, deletion: Deletion, blocked: BlockedError, actor: Actor) -> None:
    """Stop a deletion that no person waits for and that can no longer be sent."""
    transition = states.stop_trying(
        cause=blocked.cause, was_ambiguous=deletion.attempts.filter(AMBIGUOUS).exists()
    )
    states.apply(
        deletion,
        transition=transition,
        actor=actor,
        # Without the text of `blocked`, because that might name a person.
        events=[
            audit.EventDraft(
                code=transition.event_code,
                sentence=audit.Sentence(
                    "The deletion of {connection} was stopped. {why} {facts}",
                    connection=deletion.description,
                    why=cause_text(blocked.cause),
                    facts=attempt_facts.attempts_summary_of(deletion),
                ),
            )
        ],
    )


def record_or_save(*, attempt: Attempt, response: DeleteResponse, actor: Actor) -> None:
    """Record the response, or save it in a file if the database doesn't store it.

    Raises ResponseNotRecordedError if it is not in the database although the DELETE was sent.
    """
    for _ in range(2):
        before = connection.connection
        try:
            record_response(attempt=attempt, response=response, actor=actor)
        except Exception as error:  # noqa: BLE001 - whatever failed, the response must be saved
            failure = error
        else:
            return
        # Django drops a broken connection, and might have opened another during the rollback.
        connection.close_if_unusable_or_obsolete()
        if connection.connection is before:
            break
        # The connection was dropped while idle, which says nothing about the database, so retry
        # once.
    summary = response_summary(response)
    try:
        path = saved_responses.save(attempt=attempt, response=response, actor=actor)
    except PrivateFileError as error:
        location = ResponseLocation.NOWHERE
        logger.critical(
            "The outcome of deletion %s could not be recorded anywhere (%s): %s.",
            *(attempt.deletion_id, error, summary),
        )
    else:
        location = ResponseLocation.LOCALLY
        logger.error(
            "The database did not store the response to a DELETE. It is saved in %s.", path
        )
    raise ResponseNotRecordedError(
        deletion_id=attempt.deletion_id, response_text=summary, location=location
    ) from failure


def record_response(
    *, attempt: Attempt, response: DeleteResponse, actor: Actor, kept_at: datetime | None = None
) -> bool:
    """Record the response and change the deletion's state, if this claim is still valid.

    A response that arrives after the deletion changed is stored as late, with an alarm. It changes
    no state, but a 200 makes the next check due. `kept_at` is when the response was written to a
    file because the database was unavailable, by this machine's clock. Returns False, with nothing
    changed, when the attempt already has a response.
    """
    with audit.atomic(durable=True):
        recorded = _record_locked([(attempt, response)], actor=actor, kept_at=kept_at)
    return bool(recorded)


def record_together(*, responses: Sequence[tuple[Attempt, DeleteResponse]], actor: Actor) -> None:
    """`record_response` for attempts with one credential, in one transaction.

    Raises database errors. No response is recorded then.
    """
    with audit.atomic(durable=True):
        _record_locked(responses, actor=actor)


def _record_locked(
    responses: Sequence[tuple[Attempt, DeleteResponse]],
    *,
    actor: Actor,
    kept_at: datetime | None = None,
) -> bool:
    """Record those responses that aren't recorded yet. Return whether there are any."""
    now = _lock_deletions([attempt for attempt, _ in responses])
    new = [
        (attempt, response)
        for attempt, response in responses
        # Recording a response ends the sending, so only a late one can already be recorded.
        if not (_is_late(attempt) and _has_response(attempt))
    ]
    changes = list[_Change]()
    for attempt, response in new:
        attempt.is_late = _is_late(attempt)
        _fill_in(attempt=attempt, response=response, at=now)
        _record_use(attempt=attempt, response=response, at=now, is_kept=kept_at is not None)
        if not attempt.is_late:
            changes.append(
                _change_after(attempt=attempt, response=response, at=now, kept_at=kept_at)
            )
    # Rows of a bulk deletion nearly always change in the same way.
    for transition, some in groupby(changes, key=lambda change: change.transition):
        alike = {change.deletion: change.events for change in some}
        states.apply_to_all(
            list(alike), transition=transition, actor=actor, events_of=alike.__getitem__
        )
    for attempt, response in new:
        # Saved once everything is known, because a trigger refuses later changes.
        attempt.save()
        if attempt.is_late:
            _record_late(attempt=attempt, response=response, actor=actor, at=now, kept_at=kept_at)
        failpoints.hit(Point.INSIDE_RESULT, deletion_id=attempt.deletion_id)
    return bool(new)


def _lock_deletions(attempts: Sequence[Attempt]) -> datetime:
    """Lock the deletions of these attempts and read them again. Return the time of that read.

    Code that also locks their credentials locks those first. `lock_responses` holds these locks
    too, so a decision made from the attempts either sees a response or precedes it.
    """
    rows = Deletion.objects.select_related("credential").annotate(now=clock.now_in_query())
    locked = rows.select_for_update(of=("credential", "self"), no_key=True)
    # In a fixed order, so that two processes don't wait for each other.
    in_order = locked.filter(pk__in=[attempt.deletion_id for attempt in attempts]).order_by("pk")
    deletions = {deletion.pk: deletion for deletion in in_order}
    for attempt in attempts:
        attempt.deletion = deletions[attempt.deletion_id]
    now: datetime = max(deletion.now for deletion in deletions.values())
    return now


def _is_late(attempt: Attempt) -> bool:
    """Whether its locked deletion has changed since the claim."""
    deletion = attempt.deletion
    return deletion.epoch != attempt.epoch or deletion.state != State.SENDING


def _record_use(*, attempt: Attempt, response: DeleteResponse, at: datetime, is_kept: bool) -> None:
    """Record what a response says about the credential and its org."""
    deletion = attempt.deletion
    if response.verdict != AttemptResult.DELETED:
        # The sync that verifies a 200 records the use.
        storing.record_use(
            credential_id=deletion.credential_id, at=at, failure=_failure_of(response)
        )
    limit = response.rate_limit
    if limit and limit.is_low and not is_kept:
        rate_limits.record(
            site=deletion.site,
            org_id=deletion.credential.org_id,
            rate_limits=[limit],
            now=at,
        )


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What a response changes, and its events."""

    deletion: Deletion
    transition: Settle | Wait | BecomeUnknown
    events: Sequence[audit.EventDraft]


def _change_after(
    *, attempt: Attempt, response: DeleteResponse, at: datetime, kept_at: datetime | None
) -> _Change:
    deletion, verdict = attempt.deletion, response.verdict
    was_ambiguous = (
        attempt.number > 1 and deletion.attempts.filter(AMBIGUOUS).exclude(pk=attempt.pk).exists()
    )
    transition = states.transition_for(
        deletion=deletion,
        response=response,
        now=at,
        was_ambiguous=was_ambiguous,
        had_late_success=verdict == AttemptResult.NOT_FOUND and deletion.has_late_success,
        times_not_sent=_times_not_sent(deletion) if verdict == AttemptResult.NOT_SENT else 0,
    )
    answered = audit.EventDraft(
        code=audit.EventCode.DELETION_ANSWERED,
        sentence=audit.Sentence(
            "{connection}: {response}",
            response=response_summary(response),
            connection=deletion.description,
        ),
        details=_details(attempt, kept_at=kept_at),
        rows=_response_rows(attempt),
    )
    followed = audit.EventDraft(
        code=transition.event_code,
        sentence=_sentence_for(transition, deletion=deletion),
    )
    return _Change(deletion=deletion, transition=transition, events=[answered, followed])


def _record_late(
    *,
    attempt: Attempt,
    response: DeleteResponse,
    actor: Actor,
    at: datetime,
    kept_at: datetime | None,
) -> None:
    deletion = attempt.deletion
    awaits_outcome = deletion.state in {State.UNKNOWN, State.STILL_PRESENT}
    if response.verdict == AttemptResult.DELETED and awaits_outcome:
        # One complete list can close the deletion now, so check it immediately.
        deletion.due_at = at
        deletion.save(update_fields=["due_at"])
    audit.record(
        code=audit.EventCode.DELETION_ANSWERED_LATE,
        actor=actor,
        subject=deletion,
        sentence=audit.Sentence(
            "Late response to attempt {number}: {response}",
            number=attempt.number,
            response=response_summary(response),
        ),
        details=_details(attempt, kept_at=kept_at) | {"attempt": attempt.number},
        rows=_response_rows(attempt),
    )


def _has_response(attempt: Attempt) -> bool:
    """Whether the database already has a response to it."""
    return Attempt.objects.filter(pk=attempt.pk, answered_at__isnull=False).exists()


# What an attempt and its event both copy from the response, under the same name.
_COPIED = ("verdict", "http_status", "duration_ms", "body_sha256", "body_is_complete", "headers")


def _fill_in(*, attempt: Attempt, response: DeleteResponse, at: datetime) -> None:
    for name in _COPIED:
        setattr(attempt, name, getattr(response, name))
    attempt.body = response.body
    attempt.cause = response.cause or ""
    attempt.errors = list(response.errors)
    attempt.answered_at = at


def _details(attempt: Attempt, *, kept_at: datetime | None) -> dict[str, object]:
    names = ("verdict", "http_status", "duration_ms", "errors")
    details: dict[str, object] = {name: getattr(attempt, name) for name in names}
    return details | ({"kept_at": kept_at.isoformat()} if kept_at else {})


# Every column of an attempt that its response sets.
_RESPONSE_COLUMNS = (*_COPIED, "body", "cause", "errors", "answered_at", "is_late")


def _response_rows(attempt: Attempt) -> audit.Rows:
    response = {name: getattr(attempt, name) for name in _RESPONSE_COLUMNS}
    return {f"attempt {attempt.number}": audit.columns_of(response)}


def _failure_of(response: DeleteResponse) -> dict[str, object] | None:
    if response.verdict in {AttemptResult.DELETED, AttemptResult.NOT_FOUND}:
        return None
    return {
        "cause": response.cause or "",
        "http_status": response.http_status,
        "errors": list(response.errors),
    }


def _times_not_sent(deletion: Deletion) -> int:
    """How often the request could not leave since a person confirmed it, including this time.

    Counted by the order of events and not by times, because a clock can be set back.
    """
    codes = [event.code for event in audit.events_of(subject=deletion)]
    newest_first = takewhile(
        lambda code: code != audit.EventCode.DELETION_CONFIRMED, reversed(codes)
    )
    tries = sum(code == audit.EventCode.DELETION_SENDING for code in newest_first)
    since = deletion.attempts.filter(epoch__gt=deletion.epoch - tries)
    # The verdict of this attempt is not stored yet.
    return since.filter(verdict=AttemptResult.NOT_SENT).count() + 1


def _sentence_for(
    transition: Settle | Wait | BecomeUnknown, *, deletion: Deletion
) -> audit.Sentence:
    """What the response led to, for the audit log.

    The deletion's attempts are stored, including this one.
    """
    connection = deletion.description
    match transition:
        case Settle(outcome=Outcome.NOT_SENT):
            return audit.Sentence(
                "The deletion of {connection} was stopped. {why} {facts}",
                connection=connection,
                why=cause_text(transition.cause),
                facts=attempt_facts.attempts_summary_of(deletion),
            )
        case Settle():
            outcome = label_of_outcome(transition.outcome)
            return audit.Sentence(
                "The deletion of {connection} is closed: {outcome}.",
                connection=connection,
                outcome=outcome,
            )
        case Wait():
            return audit.Sentence(
                "The DELETE for {connection} will be retried.", connection=connection
            )
        case BecomeUnknown():
            return audit.Sentence(
                "The outcome of the deletion of {connection} is unknown.", connection=connection
            )


def response_summary(response: DeleteResponse) -> str:
    """What Datadog returned, or why no usable response arrived, in a sentence or two."""
    if response.http_status is not None:
        return f"Datadog returned {response.http_status} in {response.duration_ms} ms."
    cause = cause_text(response.cause or "")
    if response.verdict == AttemptResult.NOT_SENT:
        return f"The request didn't leave this server. {cause}"
    return f"No usable response in {response.duration_ms} ms. {cause}"


# Each process logs these once. `doctor` reports them as long as they exist.
_logged: set[Path] = set()


def record_saved_responses() -> int:
    """Record every saved response that can be recorded. Return how many.

    Only one process does it at a time.

    Raises database errors when the database is unavailable. The files stay then.
    """
    recorded = 0
    if not saved_responses.list_files():
        return recorded
    with saved_responses.locked() as is_alone:
        for path in saved_responses.list_files() if is_alone else []:
            try:
                recorded += _record_file(path)
            except UnusableFileError as error:
                if path not in _logged:
                    _logged.add(path)
                    logger.error("A saved response can't be recorded and is kept: %s", error)  # noqa: TRY400
    return recorded


def _record_file(path: Path) -> bool:
    """Record one saved response, and return whether it was recorded now.

    If it was already recorded, only remove its file.
    """
    saved, attempt = saved_responses.check_file(path)
    try:
        is_new = record_response(
            attempt=attempt, response=saved.response, actor=saved.actor, kept_at=saved.kept_at
        )
    except (DataError, IntegrityError) as error:
        raise UnusableFileError(f"{path}: the database refuses it: {error}") from error
    path.unlink()
    return is_new
