"""Sends the DELETE of a confirmed deletion: pre-send check, claim, request, response.

Everything that can send a DELETE calls `send_deletion`.
"""

import logging
import time
from datetime import datetime, timedelta
from uuid import UUID

from django.db import Error as DatabaseError
from django.db.models import Max

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import (
    BlockedError,
    RecordedIn,
    ResponseNotRecordedError,
    UnavailableError,
)
from connections.datadog.client import DatadogClient, DeleteResponse
from connections.deletions import failpoints, recheck, reconciliation, spool, states, stopping
from connections.deletions.failpoints import Point
from connections.deletions.recheck import Recheck, RecheckResult
from connections.deletions.responses import response_summary
from connections.deletions.states import Claim, EventDraft, FailRecheck, Settle
from connections.inventory import protections, sync
from connections.inventory.sync import SyncResult
from connections.models import (
    AMBIGUOUS,
    ApprovalPolicy,
    Attempt,
    Credential,
    Deletion,
    Outcome,
    Person,
    SnapshotFields,
    State,
)
from connections.wording import attempt_facts

logger = logging.getLogger(__name__)


def settle_not_as_reviewed(*, deletion: Deletion, found: Recheck, actor: Actor) -> None:
    """Settle a deletion of a connection that changed, or is gone, since it was reviewed."""
    if found.listed is None:
        _settle_absent(deletion=deletion, at=found.at or clock.now(), actor=actor)
    else:
        _settle_stale(deletion=deletion, listed=found.listed, actor=actor)


def _settle_absent(*, deletion: Deletion, at: datetime, actor: Actor) -> None:
    with reconciliation.responses_locked(deletion=deletion):
        if deletion.has_late_success:
            reconciliation.settle_late_success(
                deletion=deletion,
                actor=actor,
                cause=Cause.ABSENT_WHEN_READ,
                seen_at=at,
            )
            return
        outcome = (
            Outcome.GONE_UNATTRIBUTED if deletion.has_ambiguous_attempt else Outcome.ALREADY_ABSENT
        )
        sentence = (
            f"{deletion.description} is no longer listed. {attempt_facts.in_full_of(deletion)}"
        )
        states.apply(
            deletion,
            transition=Settle(outcome=outcome, cause=Cause.ABSENT_WHEN_READ),
            actor=actor,
            events=[EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence)],
        )


def _settle_stale(*, deletion: Deletion, listed: SnapshotFields, actor: Actor) -> None:
    details: dict[str, object] = {
        "now_says": {
            "source_org_name": listed.source_org_name,
            "sink_org_name": listed.sink_org_name,
            "connection_types": list(listed.connection_types),
        }
    }
    facts = attempt_facts.in_full_of(deletion)
    sentence = f"{deletion.description} changed since it was reviewed. {facts}"
    states.apply(
        deletion,
        transition=Settle(outcome=Outcome.STALE, cause=Cause.CHANGED_WHEN_READ, details=details),
        actor=actor,
        events=[
            EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence, details=details)
        ],
    )


def record_recheck_failure(*, deletion: Deletion, result: SyncResult, actor: Actor) -> None:
    """Record that the pre-send check failed: nothing is sent and the state stays."""
    details: dict[str, object] = {
        "cause": result.cause,
        "http_status": result.http_status,
        "errors": list(result.errors),
    }
    sentence = (
        f"{deletion.description} could not be read again. {attempt_facts.in_full_of(deletion)}"
    )
    due_at = clock.now() + timedelta(seconds=60) if deletion.state == State.WAITING else None
    states.apply(
        deletion,
        transition=FailRecheck(details=details, due_at=due_at),
        actor=actor,
        events=[
            EventDraft(
                code=audit.EventCode.DELETION_RECHECK_FAILED, sentence=sentence, details=details
            )
        ],
    )


# The total deadline of one DELETE, from just before its claim (s). Tests change it.
DELETE_SECONDS = 30.0


def send_deletion(
    *,
    deletion: Deletion,
    actor: Actor,
    skip_recheck: bool = False,
    result: SyncResult | None = None,
) -> Deletion:
    """Send a confirmed deletion once, if it is still what was reviewed.

    `skip_recheck`: the person chose to send although the pre-send check failed. `result`: the sync
    that this same action has just made, so that Datadog is not asked twice.
    Returns the deletion as it stands afterwards; never raises for a failure at Datadog. Raises
    BlockedError when a person involved lost the permission, the credential is retired or the
    connection protected, and UnavailableError; each before anything is sent. Raises
    ResponseNotRecordedError when it was sent and the database then did not store or show the
    response.
    """
    client = require_sendable(deletion=deletion, confirmed_by=deletion.confirmed_by)
    if not skip_recheck:
        if result is None:
            result = sync.sync_org(
                credential=deletion.credential, actor=actor, find=deletion.connection_id
            )
        found = recheck.compare(deletion=deletion, result=result)
        match found.result:
            case RecheckResult.ABSENT | RecheckResult.CHANGED:
                settle_not_as_reviewed(deletion=deletion, found=found, actor=actor)
                return deletion
            case RecheckResult.UNREADABLE if deletion.is_reviewed:
                record_recheck_failure(deletion=deletion, result=result, actor=actor)
                return deletion
    was_rechecked = result is not None and result.find(deletion.connection_id) is not None
    began_at = time.monotonic()
    failpoints.hit(Point.BEFORE_CLAIM, deletion_id=deletion.pk)
    attempt = claim(deletion=deletion, actor=actor, was_rechecked=was_rechecked)
    if attempt is None:
        return deletion
    failpoints.hit(Point.AFTER_CLAIM, deletion_id=deletion.pk)
    response = _send(client=client, connection_id=deletion.connection_id, began_at=began_at)
    failpoints.hit(Point.AFTER_ANSWER, deletion_id=deletion.pk)
    spool.record(attempt=attempt, response=response, actor=actor)
    failpoints.hit(Point.AFTER_RESULT, deletion_id=deletion.pk)
    stopping.end_sending()
    _verify_after_send(deletion=deletion, actor=actor, response=response)
    return deletion


def _send(*, client: DatadogClient, connection_id: UUID, began_at: float) -> DeleteResponse:
    # A process that was paused after its claim must not send once others have given it up: the
    # deadline runs from before the claim, and no request begins after it.
    seconds = DELETE_SECONDS - (time.monotonic() - began_at)
    # The only line of the product that can delete a connection.
    return client.delete_org_connection(connection_id=str(connection_id), deadline_seconds=seconds)


def require_sendable(*, deletion: Deletion, confirmed_by: Person | None) -> DatadogClient:
    """A client for this deletion, if no local reason forbids sending it; makes no request.

    Raises BlockedError when a person involved lost the permission, the credential is retired or
    the connection protected, and UnavailableError when the keys cannot be decrypted.
    """
    deletion.credential = Credential.objects.get(pk=deletion.credential_id)
    _require_unblocked(deletion=deletion, confirmed_by_id=confirmed_by.pk if confirmed_by else None)
    return sync.open_client(credential=deletion.credential)


def _require_unblocked(*, deletion: Deletion, confirmed_by_id: UUID | None) -> None:
    blocked = _find_block(deletion=deletion, confirmed_by_id=confirmed_by_id)
    if blocked:
        raise BlockedError(blocked[1], cause=blocked[0])


def _find_block(*, deletion: Deletion, confirmed_by_id: UUID | None) -> tuple[Cause, str] | None:
    """Why a confirmed deletion may no longer be sent: a cause and a sentence.

    Permissions are read from the database at every call, since the person who requested,
    confirmed or approved it may have lost them a moment ago. Its credential is current.
    """
    credential = deletion.credential
    if credential.is_retired:
        return Cause.CREDENTIAL_RETIRED, f"The credential {credential.name} was retired."
    protection = protections.find_protection_against(deletion)
    if protection:
        return Cause.CONNECTION_PROTECTED, protections.protection_text(protection)
    involved = Person.objects.filter(pk__in=[deletion.requested_by_id, confirmed_by_id])
    for person in involved:
        if not permissions.can_use(person_actor(person=person), credential_id=credential.pk):
            sentence = f"{person} may not delete connections any more."
            return Cause.PERSON_LOST_RIGHT, sentence
    return _find_approval_block(deletion)


def _find_approval_block(deletion: Deletion) -> tuple[Cause, str] | None:
    """Why the approvals, or the use of break glass, no longer count: a cause and a sentence."""
    tried = deletion.attempts.filter(approval_round=deletion.approval_round)
    if deletion.policy != ApprovalPolicy.NONE and tried.filter(AMBIGUOUS).exists():
        return Cause.APPROVALS_MISSING, "An attempt under its approvals may have worked."
    breaker = deletion.break_glass_by if deletion.break_glass_applies else None
    if breaker and not permissions.can_break_glass(person_actor(person=breaker), deletion=deletion):
        return Cause.PERSON_LOST_RIGHT, f"{breaker} may not break glass any more."
    if not deletion.needs_approval:
        return None
    approvals = list(states.approvals_given(deletion).select_related("approver"))
    for approval in approvals:
        if not permissions.can_approve(person_actor(person=approval.approver), deletion=deletion):
            sentence = f"{approval.approver_name} may not approve deletions any more."
            return Cause.PERSON_LOST_RIGHT, sentence
    if len(approvals) < states.approvals_needed(deletion):
        return Cause.APPROVALS_MISSING, "It still needs approval."
    return None


def _next_attempt(*, deletion: Deletion, was_rechecked: bool) -> Attempt:
    last = deletion.attempts.aggregate(last=Max("number"))["last"] or 0
    return Attempt(
        deletion=deletion,
        number=last + 1,
        epoch=deletion.epoch + 1,
        approval_round=deletion.approval_round,
        credential_name=deletion.credential.name,
        credential_fingerprint=deletion.credential.fingerprint,
        was_rechecked=was_rechecked,
        claimed_at=clock.now(),
    )


def _sending_event(attempt: Attempt) -> EventDraft:
    return EventDraft(
        code=audit.EventCode.DELETION_SENDING,
        sentence=f"Sending attempt {attempt.number} to delete {attempt.deletion.description}.",
        details={
            "attempt": attempt.number,
            "epoch": attempt.epoch,
            "approval_round": attempt.approval_round,
            "credential": attempt.credential_name,
            "fingerprint": attempt.credential_fingerprint,
            "was_rechecked": attempt.was_rechecked,
        },
    )


def claim(*, deletion: Deletion, actor: Actor, was_rechecked: bool) -> Attempt | None:
    """Claim the deletion for this process and record the attempt, durably, before it is sent.

    Returns None when another process claimed or changed it first; then nothing may be sent. Raises
    BlockedError when a permission was lost, the credential retired or the connection protected
    during the pre-send check.
    """
    with audit.atomic(durable=True):
        credentials = Credential.objects.select_for_update(no_key=True)
        deletion.credential = credentials.get(pk=deletion.credential_id)
        _require_unblocked(deletion=deletion, confirmed_by_id=deletion.confirmed_by_id)
        attempt = _next_attempt(deletion=deletion, was_rechecked=was_rechecked)
        claimed = states.apply(
            deletion,
            transition=Claim(epoch=attempt.epoch, at=attempt.claimed_at),
            actor=actor,
            events=[_sending_event(attempt)],
        )
        if not claimed:
            return None
        attempt.save(force_insert=True)
        failpoints.hit(Point.INSIDE_CLAIM, deletion_id=deletion.pk)
        stopping.begin_sending(deletion_id=deletion.pk)
    return attempt


def _verify_after_send(*, deletion: Deletion, actor: Actor, response: DeleteResponse) -> None:
    """List once within the same request, where that can verify or contradict the response."""
    try:
        deletion.refresh_from_db()
        if deletion.outcome == Outcome.DELETED:
            reconciliation.verify_deleted(deletion=deletion, actor=actor)
        elif deletion.outcome == Outcome.ALREADY_ABSENT:
            reconciliation.sync_observing_credentials(deletion=deletion, actor=actor)
    except UnavailableError:
        # It was sent and recorded; the worker repeats the check that failed now.
        logger.warning("Deletion %s was sent; looking afterwards failed.", deletion.pk)
    except DatabaseError as error:
        said = response_summary(response)
        raise ResponseNotRecordedError(
            deletion_id=deletion.pk, response_text=said, kept=RecordedIn.IN_DATABASE
        ) from error
