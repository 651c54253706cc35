"""Confirming a bulk deletion, which queues its rows for the worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.batches import drafts, facts
from connections.change_requests import exclusion, guards, states
from connections.change_requests.states import new_state
from connections.change_requests.transition import Transition
from connections.core import clock, time_limits
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.core.typed_text import confirmation_matches
from connections.deletions import confirmations
from connections.models import (
    RUN_BY_BATCH,
    Batch,
    BatchOrigin,
    BatchState,
    ChangeRequest,
    Deletion,
    State,
)


@dataclass(frozen=True, kw_only=True)
class Queue(Transition):
    """The actor confirmed its bulk deletion, at `at`. The worker sends it while that is running."""

    at: datetime

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        return new_state(
            State.WAITING,
            confirmed_at=self.at,
            confirmed_by=actor.person,
            confirmed_by_name=actor.name,
            due_at=self.at,
            expires_at=self.at + time_limits.QUEUE_WINDOW,
        )


def text_to_type(batch: Batch, *, count: int | None = None) -> str:
    """What a person types to confirm: the number of rows to send, or the name of the org to remove.

    It is the number if the org has no name or one that can't be typed: `count`, if a draft's rows
    aren't stored as they are shown.
    """
    name = confirmations.typable_name(batch.org_name) if batch.origin == BatchOrigin.ORG else ""
    return name or str(count_to_send(batch) if count is None else count)


def count_to_send(batch: Batch) -> int:
    """How many rows a confirmation sends: a draft's rows or, later, the rows still waiting."""
    if batch.state == BatchState.DRAFT:
        return drafts.count_sendable(batch)
    return unsent_rows(batch).count()


# The states of a row that its bulk deletion has not sent or will send again.
UNSENT = (State.REQUESTED, State.APPROVED, State.WAITING)


def unsent_rows(batch: Batch) -> QuerySet[Deletion]:
    """The rows that the bulk deletion still controls and whose DELETE is not in progress."""
    return batch.deletions.filter(RUN_BY_BATCH, state__in=UNSENT, settled_at=None)


def lock_unsent(batch: Batch) -> list[Deletion]:
    """Lock and return `unsent_rows`. Lock their bulk deletion first."""
    return list(unsent_rows(batch).select_for_update(no_key=True, of=("self",)).order_by("pk"))


def find_problem(batch: Batch, *, confirmation: str) -> dict[str, str]:
    """The form field and its message if the confirmation doesn't match the text to type."""
    expected = text_to_type(batch)
    if confirmation_matches(typed=confirmation, expected=expected):
        return {}
    return {"confirmation": f"Type {expected}."}


def require_none_kept(batch: Batch) -> None:
    """Raise ConflictError if an access review has since decided to keep one of its connections."""
    kept = len(list_kept(batch))
    if kept:
        unchanged = "It stays paused." if batch.state == BatchState.PAUSED else "Nothing was sent."
        raise ConflictError(
            f"An access review has since decided to keep {pluralize(kept, 'connection')}"
            f" of this bulk deletion. {unchanged} Withdraw {'that' if kept == 1 else 'each such'}"
            " deletion, or cancel the bulk deletion and plan the rest again."
        )


def list_kept(batch: Batch) -> list[Deletion]:
    """The rows that it would send although an access review has since decided to keep them."""
    rows = facts.find_kept(batch=batch) if batch.is_from_review else set()
    if not rows:
        return []
    return list(unsent_rows(batch).filter(batch_row__in=rows).order_by("batch_row__position"))


def execute_batch(*, batch: Batch, actor: Actor, confirmation: str) -> bool:
    """Confirm an approved bulk deletion with its typed text. The worker then sends its rows.

    Does nothing and returns False if it is already confirmed, so that a second click is harmless.
    Raises PermissionDenied, InvalidInputError, ConflictError and ClockBehindError, each with
    nothing sent.
    """
    permissions.require(
        permissions.can_use_all(actor, credential_ids=batch.sending_credential_ids),
        "delete connections with every credential of this bulk deletion",
    )
    with audit.atomic(durable=True):
        drafts.lock_batch(batch)
        if batch.confirmed_at:
            return False
        if actor.person is None or actor.person.pk != batch.requested_by_id:
            raise ConflictError(
                f"Only {batch.requested_by_name}, who requested it, can confirm this bulk deletion."
            )
        if batch.state != BatchState.APPROVED:
            raise OvertakenError("This bulk deletion isn't waiting for confirmation.")
        if drafts.has_expired(batch, now=clock.now()):
            raise ConflictError("This bulk deletion expired. Nothing was sent. Plan it again.")
        require_none_kept(batch)
        problem = find_problem(batch, confirmation=confirmation)
        if problem:
            raise InvalidInputError(problem)
        exclusion.lock_excluded(list(unsent_rows(batch)), actor=actor)
        confirm(batch, deletions=lock_unsent(batch), actor=actor)
    return True


def confirm(batch: Batch, *, deletions: Sequence[Deletion], actor: Actor) -> None:
    """Queue these rows and start the bulk deletion. Call it in a transaction that has locked it.

    Raises ClockBehindError.
    """
    now = guards.require_right_clock()
    states.apply_to_all(
        deletions,
        transition=Queue(at=now),
        actor=actor,
        events_of=lambda deletion: [_row_event(deletion, actor=actor)],
    )
    batch.state = BatchState.RUNNING
    batch.confirmed_at = now
    batch.confirmed_by = actor.person
    batch.confirmed_by_name = actor.name
    batch.expires_at = None
    batch.save()
    columns = ("state", "confirmed_at", "confirmed_by_id", "confirmed_by_name")
    audit.record(
        code=EventCode.BATCH_CONFIRMED,
        actor=actor,
        subject=batch,
        sentence=audit.Sentence(
            "{actor} confirmed the bulk deletion of {connections}.",
            connections=pluralize(len(deletions), "connection"),
        ),
        details={"count": len(deletions)},
        rows={"batch": audit.changed(batch, *columns, actor=actor)},
    )


def _row_event(deletion: Deletion, *, actor: Actor) -> audit.EventDraft:
    return audit.EventDraft(
        code=EventCode.DELETION_CONFIRMED,
        sentence=audit.Sentence(
            "{actor} confirmed deletion of {connection} as part of a bulk deletion.",
            connection=deletion.description,
        ),
        details={"approval_round": deletion.approval_round},
    )
