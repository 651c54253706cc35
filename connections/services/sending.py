"""Sending the DELETE: read again, claim and record, send, record what came back, look once more.

The order is the point. The attempt and its event are committed before the request leaves, so no
DELETE is without its record; nothing is locked while Datadog answers; and what comes back is
written only by the process whose claim still stands.
"""

import time
from datetime import timedelta
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Max

from connections import clock, failpoints, policies
from connections.actors import Actor, person_actor
from connections.datadog.client import Answer, DatadogClient
from connections.failpoints import Point
from connections.models import (
    Approval,
    Attempt,
    Cause,
    Credential,
    Deletion,
    Outcome,
    Person,
    State,
    snapshot_digest,
)
from connections.services import answers, audit, readings, reconciliation, spool, transitions
from connections.services.errors import BlockedError, Kept, SentError
from connections.services.readings import Fetched
from connections.services.transitions import Next, Note, describe

# The total deadline of one DELETE, from just before its claim; read at each sending.
DELETE_SECONDS = 30.0


def send_deletion(
    *,
    deletion: Deletion,
    actor: Actor,
    without_reading: bool = False,
    reading: Fetched | None = None,
) -> Deletion:
    """Send a confirmed deletion once, if it is still what was reviewed.

    `without_reading`: the person chose to send although the connection could not be read again.
    `reading`: what this same act has just read, so that Datadog is not asked twice.
    Returns the deletion as it stands afterwards; never raises for Datadog's trouble. Raises
    BlockedError when somebody involved lost the right or the credential is retired, and
    UnavailableError; each before anything is sent. Raises SentError when it was sent and the
    database then did not take or show what came back.
    """
    client = require_sendable(deletion=deletion, confirmed_by=deletion.confirmed_by)
    if not without_reading:
        if reading is None:
            reading = readings.read(
                credential=deletion.credential, actor=actor, find=deletion.connection_id
            )
        if not _is_as_reviewed(deletion=deletion, reading=reading, actor=actor):
            return deletion
    was_read = reading is not None and reading.find(deletion.connection_id) is not None
    began_at = time.monotonic()
    failpoints.reach(Point.BEFORE_CLAIM, deletion_id=deletion.pk)
    attempt = claim(deletion=deletion, actor=actor, was_read_before=was_read)
    if attempt is None:
        return deletion
    failpoints.reach(Point.AFTER_CLAIM, deletion_id=deletion.pk)
    answer = _send(client=client, connection_id=deletion.connection_id, began_at=began_at)
    failpoints.reach(Point.AFTER_ANSWER, deletion_id=deletion.pk)
    spool.record(attempt=attempt, answer=answer, actor=actor)
    failpoints.reach(Point.AFTER_RESULT, deletion_id=deletion.pk)
    _look_after(deletion=deletion, actor=actor, answer=answer)
    return deletion


def _send(*, client: DatadogClient, connection_id: UUID, began_at: float) -> Answer:
    # A process that was frozen after its claim must not send when others have given it up: the
    # deadline runs from before the claim, and nothing is begun after it.
    seconds = DELETE_SECONDS - (time.monotonic() - began_at)
    # The one line of the product that can delete something.
    return client.delete_org_connection(connection_id=str(connection_id), deadline_seconds=seconds)


def require_sendable(*, deletion: Deletion, confirmed_by: Person | None) -> DatadogClient:
    """What can send this deletion, if nothing of ours stands against it; asks Datadog nothing.

    Raises BlockedError when somebody involved lost the right or the credential is retired, and
    UnavailableError when its keys cannot be opened.
    """
    blocked = _what_blocks(deletion=deletion, confirmed_by=confirmed_by)
    if blocked:
        raise BlockedError(blocked[1], cause=blocked[0])
    return readings.open_client(credential=deletion.credential)


def _what_blocks(*, deletion: Deletion, confirmed_by: Person | None) -> tuple[Cause, str] | None:
    """Why a deletion that was rightly confirmed may not be sent any more: a cause and a sentence.

    Rights are read again at every sending: whoever confirmed or approved may have left since.
    """
    credential = Credential.objects.get(pk=deletion.credential_id)
    if credential.is_retired:
        return Cause.CREDENTIAL_RETIRED, f"The credential {credential.name} was retired."
    for person in (deletion.requested_by, confirmed_by):
        if person and not policies.can_delete(person_actor(person=person)):
            sentence = f"{person} may not delete connections any more."
            return Cause.PERSON_LOST_RIGHT, sentence
    approvals = deletion.approvals.filter(decision=Approval.Decision.APPROVED)
    for approval in approvals.select_related("approver"):
        if not policies.can_approve(person_actor(person=approval.approver), deletion=deletion):
            sentence = f"{approval.approver_name} may not approve deletions any more."
            return Cause.PERSON_LOST_RIGHT, sentence
    return None


def _is_as_reviewed(*, deletion: Deletion, reading: Fetched, actor: Actor) -> bool:
    """Whether to send, by what Datadog says now; settles or notes the deletion where not."""
    item = reading.find(deletion.connection_id)
    if item is None and reading.is_complete:
        _settle_absent(deletion=deletion, actor=actor)
        return False
    if item is None:
        if not deletion.is_reviewed:
            return True
        note_not_read(deletion=deletion, reading=reading, actor=actor)
        return False
    fields = readings.fields_from(item)
    digest = snapshot_digest(
        site=deletion.site, connection_id=str(deletion.connection_id), fields=fields
    )
    if digest == deletion.digest:
        return True
    now_says: dict[str, object] = {
        "source_org_name": fields.source_org_name,
        "sink_org_name": fields.sink_org_name,
        "connection_types": list(fields.connection_types),
    }
    _settle_stale(deletion=deletion, actor=actor, now_says=now_says)
    return False


def _settle_absent(*, deletion: Deletion, actor: Actor) -> None:
    outcome = (
        Outcome.GONE_UNATTRIBUTED if deletion.has_ambiguous_attempt else Outcome.ALREADY_ABSENT
    )
    sentence = f"Nothing was sent: a complete listing lacks {describe(deletion)}."
    transitions.move(
        deletion=deletion,
        actor=actor,
        to=Next(state=State.SETTLED, outcome=outcome, cause=Cause.ABSENT_WHEN_READ),
        notes=[Note(code=audit.Code.DELETION_SETTLED, sentence=sentence)],
    )


def _settle_stale(*, deletion: Deletion, actor: Actor, now_says: dict[str, object]) -> None:
    """End it: what would be deleted is not what was reviewed.

    After an attempt that may yet be carried out it is unknown, since stale says that we did
    nothing.
    """
    is_unknown = deletion.has_ambiguous_attempt
    to = Next(state=State.SETTLED, outcome=Outcome.STALE, cause=Cause.CHANGED_WHEN_READ)
    later: dict[str, object] = {}
    if is_unknown:
        to = Next(state=State.UNKNOWN, cause=Cause.CHANGED_WHEN_READ)
        later["due_at"] = clock.now() + transitions.SECOND_LOOK_AFTER
    code = audit.Code.DELETION_UNKNOWN if is_unknown else audit.Code.DELETION_SETTLED
    sentence = f"Nothing was sent: {describe(deletion)} changed since it was reviewed."
    transitions.move(
        deletion=deletion,
        actor=actor,
        to=to,
        notes=[Note(code=code, sentence=sentence, details={"now_says": now_says})],
        cause_details={"now_says": now_says},
        **later,
    )


def note_not_read(*, deletion: Deletion, reading: Fetched, actor: Actor) -> None:
    """The connection could not be read again: nothing is sent and the state stays."""
    details = {
        "cause": reading.cause,
        "http_status": reading.http_status,
        "errors": list(reading.errors),
    }
    sentence = f"Nothing was sent: {describe(deletion)} could not be read again."
    later: dict[str, object] = {}
    if deletion.state == State.WAITING:
        later["due_at"] = clock.now() + timedelta(seconds=60)
    transitions.move(
        deletion=deletion,
        actor=actor,
        to=Next(state=State(deletion.state), cause=Cause.LISTING_FAILED),
        notes=[Note(code=audit.Code.DELETION_NOT_READ, sentence=sentence, details=details)],
        cause_details=details,
        **later,
    )


def claim(*, deletion: Deletion, actor: Actor, was_read_before: bool) -> Attempt | None:
    """Take the deletion for this process and record the attempt, durably, before it is sent.

    Returns None when somebody else claimed or moved it first; then nothing may be sent.
    """
    with transaction.atomic(durable=True):
        now = clock.now()
        epoch = deletion.epoch + 1
        number = (deletion.attempts.aggregate(last=Max("number"))["last"] or 0) + 1
        claimed = transitions.move(
            deletion=deletion,
            actor=actor,
            to=Next(state=State.SENDING),
            notes=[
                Note(
                    code=audit.Code.DELETION_SENDING,
                    sentence=f"Sending attempt {number} to delete {describe(deletion)}.",
                    details={
                        "attempt": number,
                        "epoch": epoch,
                        "credential": deletion.credential.name,
                        "fingerprint": deletion.credential.fingerprint,
                        "was_read_before": was_read_before,
                    },
                )
            ],
            epoch=epoch,
            sending_at=now,
            due_at=now + transitions.CLAIM_TIMEOUT,
            looked_at=None,
            looked_present=None,
        )
        if not claimed:
            return None
        attempt = Attempt.objects.create(
            deletion=deletion,
            number=number,
            epoch=epoch,
            credential_name=deletion.credential.name,
            credential_fingerprint=deletion.credential.fingerprint,
            was_read_before=was_read_before,
            claimed_at=now,
        )
        failpoints.reach(Point.INSIDE_CLAIM, deletion_id=deletion.pk)
    return attempt


def _look_after(*, deletion: Deletion, actor: Actor, answer: Answer) -> None:
    """The proof of effect within the same request: list once where that can tell something."""
    try:
        deletion.refresh_from_db()
        if deletion.outcome == Outcome.DELETED:
            reconciliation.prove(deletion=deletion, actor=actor)
        elif deletion.outcome == Outcome.ALREADY_ABSENT:
            reconciliation.ask_everyone(deletion=deletion, actor=actor)
    except DatabaseError as error:
        said = answers.in_words(answer)
        raise SentError(deletion_id=deletion.pk, said=said, kept=Kept.IN_DATABASE) from error
