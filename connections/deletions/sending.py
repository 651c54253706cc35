"""Sends the DELETE of a confirmed deletion: pre-send check, claim, request.

Everything that can send a DELETE goes through this module.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.core import clock, logs, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError
from connections.datadog.client import DatadogClient
from connections.datadog.responses import WriteResponse
from connections.deletions import (
    attempt_facts,
    failpoints,
    recording,
    states,
    verification,
)
from connections.deletions.failpoints import Point
from connections.deletions.states import Claim
from connections.deletions.verification import RecheckResult
from connections.inventory import fetching, protections, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    AMBIGUOUS,
    ApprovalPolicy,
    Attempt,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Person,
    State,
)
from connections.net.http import pool

# Gets the ID of a deletion whose DELETE will be sent once the claim is committed.
type NoteClaim = Callable[[UUID], None]


@pool()
def send_deletion(
    *,
    deletion: Deletion,
    actor: Actor,
    client: DatadogClient | None = None,
    skip_recheck: bool = False,
    result: SyncResult | None = None,
    now: datetime | None = None,
    note_claim: NoteClaim | None = None,
) -> Deletion:
    """Send a confirmed deletion once, if it is still what was requested.

    `client` is used for the pre-send check; pass one if the caller has already run the checks in
    `require_sendable`. The claim runs those checks again. `skip_recheck` means that the person
    chose to send although the pre-send check failed. `result` is the sync that this same action has
    just made, so that Datadog isn't queried twice. `now` is the database time, if the caller has
    just read it. `note_claim` is as in `claim`.

    Returns the deletion with the recorded response, which is not verified yet: `due_at` is now, for
    the worker. Never raises for a failure at Datadog. Raises BlockedError when a person involved
    lost the permission, the credential is retired or the connection is protected, and
    UnavailableError; each before anything is sent. Raises ResponseNotRecordedError when it was sent
    but the database did not store the response.
    """
    logs.add_ids(deletion=deletion.pk)
    recheck = None
    if not skip_recheck:
        if result is None:
            result = fetching.fetch(
                credential=deletion.credential,
                client=client
                or require_sendable(deletion=deletion, confirmed_by=deletion.confirmed_by),
                find=deletion.connection_id,
                now=now,
            )
            storing.store(result, actor=actor)
        recheck = verification.recheck(deletion=deletion, result=result, actor=actor)
        if recheck is None:
            return deletion
    was_rechecked = recheck is not None and recheck.result == RecheckResult.SAME
    claims = claim([deletion], actor=actor, was_rechecked=was_rechecked, note_claim=note_claim)
    if not claims:
        return deletion
    [claimed] = claims
    recording.record_or_save([(claimed.attempt, send_claimed(claimed))], actor=actor)
    return claimed.attempt.deletion


@dataclass(frozen=True, kw_only=True)
class ClaimedAttempt:
    """A recorded attempt whose DELETE this process must send now, exactly once."""

    attempt: Attempt
    # Has the keys whose fingerprint the attempt records.
    client: DatadogClient
    # From `time.monotonic()`, read before the claim.
    began_at: float


def send_claimed(claimed: ClaimedAttempt) -> WriteResponse:
    """Send the DELETE of an attempt. Doesn't use the database, so threads can call it."""
    # A process that was paused after its claim must not send once others have given the claim up.
    # So the deadline starts before the claim, and no request begins after it.
    seconds = time_limits.DELETE_SECONDS - (time.monotonic() - claimed.began_at)
    # This is the only line in Org Admin that can delete a connection.
    return claimed.client.delete_org_connection(
        connection_id=str(claimed.attempt.deletion.connection_id), deadline_seconds=seconds
    )


def require_sendable(*, deletion: Deletion, confirmed_by: Person | None) -> DatadogClient:
    """A client for this deletion, unless a local reason forbids sending it. Makes no request.

    Raises BlockedError when a person involved lost the permission, the credential is retired or the
    connection is protected, and UnavailableError when the keys can't be decrypted.
    """
    deletion.credential = Credential.objects.get(pk=deletion.credential_id)
    block = find_block([deletion], confirmed_by=[confirmed_by.pk if confirmed_by else None])
    if block:
        raise block
    return fetching.open_client(credential=deletion.credential)


def find_block(
    deletions: Sequence[Deletion], *, confirmed_by: Iterable[UUID | None]
) -> BlockedError | None:
    """Why one of these deletions can't be sent if these people confirm them, or None.

    They share one credential, which is current.
    """
    checked = _check_sendable(deletions, confirmed_by=confirmed_by)
    return checked if isinstance(checked, BlockedError) else None


def _check_sendable(
    deletions: Sequence[Deletion], *, confirmed_by: Iterable[UUID | None]
) -> datetime | BlockedError:
    """The time at which nothing forbids sending these deletions, or what `find_block` returns.

    Permissions are read from the database at every call, because these people, or the approvers,
    might have lost them a moment ago.
    """
    credential = deletions[0].credential
    if credential.is_retired:
        return BlockedError(
            f"The credential {credential.name} was retired.", cause=Cause.CREDENTIAL_RETIRED
        )
    protected = protections.active_protections_of(
        site=credential.site, connection_ids=[deletion.connection_id for deletion in deletions]
    )
    # A command can delete without naming a person.
    involved = {*confirmed_by, *(deletion.requested_by_id for deletion in deletions)}
    people = {pk for pk in involved if pk}
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
    is_protected = allowed[0]["is_protected"] if allowed else True
    protection = protected.first() if is_protected else None
    if protection:
        text = protections.protection_text(protection)
        return BlockedError(text, cause=Cause.CONNECTION_PROTECTED)
    allowed_ids = {operator["pk"] for operator in allowed}
    if allowed and allowed[0]["has_access_list"]:
        users = permissions.people_who_can_use(credential_id=credential.pk)
        allowed_ids = set(users.filter(pk__in=allowed_ids).values_list("pk", flat=True))
    without_right = people - allowed_ids
    if without_right:
        person = Person.objects.filter(pk__in=without_right)[0]
        text = f"{person} no longer has permission to delete connections."
        return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    for deletion in deletions:
        if block := _find_approval_block(deletion):
            return block
    now: datetime = allowed[0]["now"] if allowed else clock.now()
    return now


def _find_approval_block(deletion: Deletion) -> BlockedError | None:
    """Why the deletion's approvals, or its use of break glass, no longer count, or None."""
    if deletion.policy != ApprovalPolicy.NONE:
        tried = deletion.attempts.filter(AMBIGUOUS, approval_round=deletion.approval_round)
        if tried.exists():
            text = "An attempt under its approvals might have worked."
            return BlockedError(text, cause=Cause.APPROVALS_MISSING)
    breaker_id = deletion.break_glass_by_id if deletion.break_glass_applies else None
    # Not `deletion.break_glass_by`, which might have been read before the pre-send check.
    breaker = Person.objects.get(pk=breaker_id) if breaker_id else None
    if breaker and not permissions.can_break_glass(person_actor(person=breaker), deletion=deletion):
        text = f"{breaker} can no longer use break glass."
        return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    if not deletion.needs_approval:
        return None
    approvals = list(states.approvals_given(deletion).select_related("approver"))
    for approval in approvals:
        if not permissions.can_approve(person_actor(person=approval.approver), deletion=deletion):
            text = f"{approval.approver_name} no longer has permission to approve deletions."
            return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)
    if len(approvals) < states.approvals_needed(deletion):
        return BlockedError("This deletion still needs approval.", cause=Cause.APPROVALS_MISSING)
    return None


def claim(
    deletions: Sequence[Deletion],
    *,
    actor: Actor,
    was_rechecked: bool,
    shared_check_at: datetime | None = None,
    note_claim: NoteClaim | None = None,
) -> list[ClaimedAttempt]:
    """Claim deletions for this process and record their attempts, durably, before they are sent.

    They belong to one credential and, if at all, to one bulk deletion. Each has its own
    attempt. The keys come from the locked credential, which might have been
    rotated during the pre-send check. `note_claim` is called at the end of each transaction that
    claims a deletion, which it can still roll back.

    Leaves out what another process claimed or changed first, what can no longer be sent in time
    and, if the shared check that began at `shared_check_at` is now too old, everything. Raises
    BlockedError when a permission was lost, the credential was retired or a connection was
    protected during the pre-send check, and UnavailableError when the keys can't be decrypted.
    Nothing is claimed then.
    """
    for deletion in deletions:
        failpoints.hit(Point.BEFORE_CLAIM, deletion_id=deletion.pk)
    began_at = time.monotonic()
    first = deletions[0]
    with audit.atomic(durable=True):
        # Locked before credentials and deletions, as everywhere else.
        if first.is_run_by_batch and not _lock_if_running(first.batch_id):
            return []
        credential = Credential.objects.select_for_update(no_key=True).get(pk=first.credential_id)
        for deletion in deletions:
            deletion.credential = credential
        # After taking the lock, because access might have changed while waiting for it.
        now = _check_sendable(
            deletions, confirmed_by=[deletion.confirmed_by_id for deletion in deletions]
        )
        if isinstance(now, BlockedError):
            raise now
        # One client for all: threads can share it, and the keys are decrypted once.
        client = fetching.open_client(credential=credential)
        in_time = [
            deletion
            for deletion in deletions
            if _is_in_time(deletion, shared_check_at=shared_check_at, now=now)
        ]
        attempts = {
            deletion.pk: Attempt(
                deletion=deletion,
                number=deletion.epoch + 1,
                epoch=deletion.epoch + 1,
                approval_round=deletion.approval_round,
                credential_name=credential.name,
                credential_fingerprint=credential.fingerprint,
                was_rechecked=was_rechecked,
                claimed_at=now,
            )
            for deletion in states.lock_unchanged(in_time)
        }
        states.apply_to_all(
            [attempt.deletion for attempt in attempts.values()],
            transition=Claim(at=now),
            actor=actor,
            events_of=lambda deletion: [_sending_event(attempts[deletion.pk])],
        )
        claimed = Attempt.objects.bulk_create(attempts.values())
        for attempt in claimed:
            failpoints.hit(Point.INSIDE_CLAIM, deletion_id=attempt.deletion_id)
            if note_claim:
                note_claim(attempt.deletion_id)
    for attempt in claimed:
        failpoints.hit(Point.AFTER_CLAIM, deletion_id=attempt.deletion_id)
    return [
        ClaimedAttempt(attempt=attempt, client=client, began_at=began_at) for attempt in claimed
    ]


def _lock_if_running(batch_id: UUID | None) -> bool:
    """Lock the bulk deletion so that a pause waits for this commit.

    Return whether it is running.
    """
    batches = Batch.objects.select_for_update(no_key=True).filter(pk__in=[batch_id])
    return batches.values_list("state", flat=True).get() == BatchState.RUNNING


def _is_in_time(deletion: Deletion, *, shared_check_at: datetime | None, now: datetime) -> bool:
    """Whether the deletion and its check still allow a claim at this time."""
    if deletion.state == State.SENDING:
        # Read after another process claimed it, so that the compare-and-swap would succeed.
        return False
    check_age = clock.elapsed_since(shared_check_at or now, now=now)
    if check_age > time_limits.SHARED_CHECK_WINDOW:
        return False
    # If its time ran out during the pre-send check, it expires the next time it is due.
    return not (deletion.state == State.WAITING and states.has_expired(deletion, now=now))


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
