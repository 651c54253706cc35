"""Sending the DELETE: read again, claim and record, send, record what came back, look once more.

The order is the point. The attempt and its event are committed before the request leaves, so no
DELETE is without its record; nothing is locked while Datadog answers; and what comes back is
written only by the process whose claim still stands.
"""

import logging
import time
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
from connections.deletions import (
    answers,
    failpoints,
    reconciliation,
    rereading,
    spool,
    states,
    stopping,
)
from connections.deletions.failpoints import Point
from connections.deletions.states import EventDraft, Transition
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
    State,
)

logger = logging.getLogger(__name__)

# The total deadline of one DELETE, from just before its claim; read at each sending.
DELETE_SECONDS = 30.0


def send_deletion(
    *,
    deletion: Deletion,
    actor: Actor,
    skip_recheck: bool = False,
    reading: SyncResult | None = None,
) -> Deletion:
    """Send a confirmed deletion once, if it is still what was reviewed.

    `skip_recheck`: the person chose to send although the connection could not be read again.
    `reading`: what this same act has just read, so that Datadog is not asked twice.
    Returns the deletion as it stands afterwards; never raises for Datadog's trouble. Raises
    BlockedError when somebody involved lost the right, the credential is retired or the connection
    protected, and UnavailableError; each before anything is sent. Raises SentError when it was sent
    and the database then did not take or show what came back.
    """
    client = require_sendable(deletion=deletion, confirmed_by=deletion.confirmed_by)
    if not skip_recheck:
        if reading is None:
            reading = sync.sync_org(
                credential=deletion.credential, actor=actor, find=deletion.connection_id
            )
        if not rereading.is_as_reviewed(deletion=deletion, reading=reading, actor=actor):
            return deletion
    was_read = reading is not None and reading.find(deletion.connection_id) is not None
    began_at = time.monotonic()
    failpoints.hit(Point.BEFORE_CLAIM, deletion_id=deletion.pk)
    attempt = claim(deletion=deletion, actor=actor, was_rechecked=was_read)
    if attempt is None:
        return deletion
    failpoints.hit(Point.AFTER_CLAIM, deletion_id=deletion.pk)
    answer = _send(client=client, connection_id=deletion.connection_id, began_at=began_at)
    failpoints.hit(Point.AFTER_ANSWER, deletion_id=deletion.pk)
    spool.record(attempt=attempt, answer=answer, actor=actor)
    failpoints.hit(Point.AFTER_RESULT, deletion_id=deletion.pk)
    stopping.end_sending()
    _verify_after_send(deletion=deletion, actor=actor, answer=answer)
    return deletion


def _send(*, client: DatadogClient, connection_id: UUID, began_at: float) -> DeleteResponse:
    # A process that was frozen after its claim must not send when others have given it up: the
    # deadline runs from before the claim, and nothing is begun after it.
    seconds = DELETE_SECONDS - (time.monotonic() - began_at)
    # The one line of the product that can delete something.
    return client.delete_org_connection(connection_id=str(connection_id), deadline_seconds=seconds)


def require_sendable(*, deletion: Deletion, confirmed_by: Person | None) -> DatadogClient:
    """What can send this deletion, if nothing of ours stands against it; asks Datadog nothing.

    Raises BlockedError when somebody involved lost the right, the credential is retired or the
    connection protected, and UnavailableError when its keys cannot be opened.
    """
    deletion.credential = Credential.objects.get(pk=deletion.credential_id)
    _require_unblocked(deletion=deletion, confirmed_by_id=confirmed_by.pk if confirmed_by else None)
    return sync.open_client(credential=deletion.credential)


def _require_unblocked(*, deletion: Deletion, confirmed_by_id: UUID | None) -> None:
    blocked = _what_blocks(deletion=deletion, confirmed_by_id=confirmed_by_id)
    if blocked:
        raise BlockedError(blocked[1], cause=blocked[0])


def _what_blocks(*, deletion: Deletion, confirmed_by_id: UUID | None) -> tuple[Cause, str] | None:
    """Why a deletion that was rightly confirmed may not be sent any more: a cause and a sentence.

    Rights are read from the database at every call: whoever asked, confirmed or approved may have
    left a moment ago. Its credential is as it was read just before.
    """
    credential = deletion.credential
    if credential.is_retired:
        return Cause.CREDENTIAL_RETIRED, f"The credential {credential.name} was retired."
    protection = protections.protection_against(deletion)
    if protection:
        return Cause.CONNECTION_PROTECTED, protections.what_protects(protection)
    involved = Person.objects.filter(pk__in=[deletion.requested_by_id, confirmed_by_id])
    for person in involved:
        if not permissions.can_use(person_actor(person=person), credential_id=credential.pk):
            sentence = f"{person} may not delete connections any more."
            return Cause.PERSON_LOST_RIGHT, sentence
    return _what_lacks_approval(deletion)


def _what_lacks_approval(deletion: Deletion) -> tuple[Cause, str] | None:
    """Why the approvals that were given, or the glass that was broken, do not count any more."""
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


def _sending_note(attempt: Attempt) -> EventDraft:
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
    """Take the deletion for this process and record the attempt, durably, before it is sent.

    Returns None when somebody else claimed or moved it first; then nothing may be sent. Raises
    BlockedError when a right was lost, the credential retired or the connection protected while
    it was read again.
    """
    with audit.atomic(durable=True):
        credentials = Credential.objects.select_for_update(no_key=True)
        deletion.credential = credentials.get(pk=deletion.credential_id)
        _require_unblocked(deletion=deletion, confirmed_by_id=deletion.confirmed_by_id)
        attempt = _next_attempt(deletion=deletion, was_rechecked=was_rechecked)
        claimed = states.apply(
            deletion=deletion,
            actor=actor,
            to=Transition(state=State.SENDING),
            notes=[_sending_note(attempt)],
            epoch=attempt.epoch,
            sending_at=attempt.claimed_at,
            due_at=attempt.claimed_at + states.CLAIM_TIMEOUT,
            last_checked_at=None,
            last_check_listed=None,
        )
        if not claimed:
            return None
        attempt.save(force_insert=True)
        failpoints.hit(Point.INSIDE_CLAIM, deletion_id=deletion.pk)
        stopping.begin_sending(deletion_id=deletion.pk)
    return attempt


def _verify_after_send(*, deletion: Deletion, actor: Actor, answer: DeleteResponse) -> None:
    """The proof of effect within the same request: list once where that can tell something."""
    try:
        deletion.refresh_from_db()
        if deletion.outcome == Outcome.DELETED:
            reconciliation.verify_deleted(deletion=deletion, actor=actor)
        elif deletion.outcome == Outcome.ALREADY_ABSENT:
            reconciliation.sync_observing_credentials(deletion=deletion, actor=actor)
    except UnavailableError:
        # It was sent and recorded; the look that could not be taken now is taken later.
        logger.warning("Deletion %s was sent; looking afterwards failed.", deletion.pk)
    except DatabaseError as error:
        said = answers.response_summary(answer)
        raise ResponseNotRecordedError(
            deletion_id=deletion.pk, said=said, kept=RecordedIn.IN_DATABASE
        ) from error
