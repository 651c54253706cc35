"""Pausing, resuming and canceling a bulk deletion. Each takes effect when it commits.

`sending.claim` locks the bulk deletion and requires it to be running. So once a pause or
cancellation has committed, no row is sent until it is resumed. A DELETE in progress can't be
stopped.
"""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.batches import confirming, drafts
from connections.change_requests import attempt_facts, guards, states
from connections.change_requests.states import Settle
from connections.core import clock
from connections.core.causes import Cause, cause_text
from connections.core.errors import InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.models import Batch, BatchRow, BatchState, Deletion, Outcome

# This many problems in a row with one credential pause it.
MAX_PROBLEMS_IN_A_ROW = 3
# After a longer pause, resuming needs a new confirmation.
CONFIRMED_FOR = timedelta(hours=1)


def pause_batch(*, batch: Batch, actor: Actor) -> None:
    """Send no more rows until it is resumed. If it is already paused, do nothing.

    Raises PermissionDenied, and OvertakenError when it is not running.
    """
    permissions.require(permissions.can_stop_batch(actor, batch=batch), "pause this bulk deletion")
    with audit.atomic(durable=True):
        drafts.lock_batch(batch)
        if batch.state == BatchState.PAUSED:
            return
        if batch.state != BatchState.RUNNING:
            raise OvertakenError("This bulk deletion isn't running.")
        sentence = audit.Sentence(
            "{actor} paused the bulk deletion with {connections} not sent.",
            connections=_count_text(batch),
        )
        _pause(batch, actor=actor, sentence=sentence)


def pause_where_kept(*, connection_ids: Collection[UUID], actor: Actor) -> None:
    """Pause bulk deletions from access reviews that would send what was just decided to be kept.

    Call it in the transaction of the decision, which has locked the access review. It locks each
    open bulk deletion before reading its state: a confirmation that began before this decision has
    then ended, and one that begins later sees the decision. A plan that is made in the meantime can
    be requested only after the decision, because requesting locks the access review too.
    """
    rows = BatchRow.objects.filter(connection_id__in=connection_ids)
    planned = Batch.objects.filter(ended_at=None, pk__in=rows.values("batch"))
    for batch in planned.exclude(access_review=None).order_by("pk"):
        drafts.lock_batch(batch)
        if confirming.list_kept(batch):
            pause_for(batch, cause=Cause.DECIDED_TO_KEEP, actor=actor)


def pause_for(batch: Batch, *, cause: Cause | str, credential_name: str = "", actor: Actor) -> None:
    """Pause a bulk deletion if it is running. Call it in a transaction that has locked it.

    `credential_name` names the credential that the cause is about, if any.
    """
    if batch.state != BatchState.RUNNING:
        return
    batch.pause_cause, batch.pause_credential_name = cause, credential_name
    sentence = audit.Sentence(
        "The bulk deletion was paused with {connections} not sent. {why}",
        connections=_count_text(batch),
        why=cause_text(cause),
    )
    _pause(batch, actor=actor, sentence=sentence)


def _count_text(batch: Batch) -> str:
    return pluralize(confirming.count_to_send(batch), "connection")


def _pause(batch: Batch, *, actor: Actor, sentence: audit.Sentence) -> None:
    batch.state = BatchState.PAUSED
    batch.paused_at, batch.paused_by_name = clock.now(), actor.name
    batch.save()
    columns = ("state", "paused_at", "paused_by_name", "pause_cause", "pause_credential_name")
    audit.record(
        code=EventCode.BATCH_PAUSED,
        actor=actor,
        subject=batch,
        sentence=sentence,
        details={
            "cause": batch.pause_cause,
            "credential": batch.pause_credential_name,
            "unsent": confirming.count_to_send(batch),
        },
        rows={"batch": audit.changed(batch, *columns, actor=actor)},
    )


def needs_confirmation_to_resume(batch: Batch) -> bool:
    """Whether it was paused for so long that resuming needs a new confirmation."""
    if batch.paused_at is None:
        return False
    return clock.elapsed_since(batch.paused_at, now=clock.now()) >= CONFIRMED_FOR


def resume_batch(*, batch: Batch, actor: Actor, confirmation: str = "") -> None:
    """Send the remaining rows. If it is already running, do nothing.

    Raises PermissionDenied, InvalidInputError when a confirmation is needed and doesn't match,
    OvertakenError when it is not paused, ConflictError when the access review decided to keep a
    row, and ClockBehindError.
    """
    permissions.require(
        permissions.can_use_all(actor, credential_ids=batch.sending_credential_ids),
        "delete connections with every credential of this bulk deletion",
    )
    with audit.atomic(durable=True):
        drafts.lock_batch(batch)
        if batch.state == BatchState.RUNNING:
            return
        if batch.state != BatchState.PAUSED:
            raise OvertakenError("This bulk deletion isn't paused.")
        confirming.require_none_kept(batch)
        if needs_confirmation_to_resume(batch):
            problem = confirming.find_problem(batch, confirmation=confirmation)
            if problem:
                raise InvalidInputError(problem)
        batch.state = BatchState.RUNNING
        batch.resumed_at = guards.require_right_clock()
        batch.pause_cause = batch.pause_credential_name = ""
        batch.problems_in_a_row = {}
        batch.save()
        columns = ("state", "resumed_at", "pause_cause", "pause_credential_name")
        audit.record(
            code=EventCode.BATCH_RESUMED,
            actor=actor,
            subject=batch,
            sentence=audit.Sentence(
                "{actor} resumed the bulk deletion with {connections} to send.",
                connections=_count_text(batch),
            ),
            rows={"batch": audit.changed(batch, *columns, actor=actor)},
        )


def cancel_batch(*, batch: Batch, actor: Actor) -> None:
    """End it: withdraw every row that was not sent. DELETEs in progress end with their own results.

    A draft is discarded. If it was already canceled, do nothing. Raises PermissionDenied, and
    OvertakenError when it has ended.
    """
    permissions.require(permissions.can_stop_batch(actor, batch=batch), "cancel this bulk deletion")
    with audit.atomic(durable=True):
        drafts.lock_batch(batch)
        if batch.state == BatchState.CANCELLED:
            return
        if batch.has_ended:
            raise OvertakenError("This bulk deletion has already ended.")
        is_draft, count = batch.state == BatchState.DRAFT, confirming.count_to_send(batch)
        withdraw_unsent(batch, actor=actor)
        batch.end(state=BatchState.CANCELLED, at=clock.now(), by_name=actor.name)
        connections = pluralize(count, "connection")
        if is_draft:
            code = EventCode.BATCH_DISCARDED
            sentence = audit.Sentence(
                "{actor} discarded the draft of a bulk deletion of {connections}.",
                connections=connections,
            )
        else:
            code = EventCode.BATCH_CANCELLED
            sentence = audit.Sentence(
                "{actor} canceled the bulk deletion. {connections} withdrawn.",
                connections=connections,
            )
        audit.record(
            code=code,
            actor=actor,
            subject=batch,
            sentence=sentence,
            details={"count" if is_draft else "withdrawn": count},
            # A draft has no event of a row before.
            rows={}
            if is_draft
            else {"batch": audit.changed(batch, *Batch.END_COLUMNS, actor=actor)},
        )


def withdraw_unsent(batch: Batch, *, actor: Actor) -> int:
    """Withdraw the rows that were not sent. Return how many. Call it in a transaction."""
    rows = confirming.lock_unsent(batch)
    states.apply_to_all(
        rows,
        transition=Settle(outcome=Outcome.WITHDRAWN),
        actor=actor,
        events_of=lambda deletion: [_withdrawn_event(deletion)],
    )
    return len(rows)


def _withdrawn_event(deletion: Deletion) -> audit.EventDraft:
    return audit.EventDraft(
        code=EventCode.DELETION_WITHDRAWN,
        sentence=audit.Sentence(
            "The deletion of {connection} was withdrawn with its bulk deletion. {facts}",
            connection=deletion.description,
            facts=attempts_text(deletion),
        ),
    )


def attempts_text(deletion: Deletion) -> str:
    """What the attempts of a row did. No query for a row without attempts."""
    return attempt_facts.attempts_summary_of(deletion) if deletion.epoch else "Nothing was sent."
