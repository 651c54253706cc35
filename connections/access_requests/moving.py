"""Moves a connection to a service account's keys: a DELETE, then a POST of the same pair.

Both are steps of one request under one approval. The POST is sent only once a complete list shows
that the pair has no connection. Until it worked, access is interrupted: everyone involved is told,
and for an hour the POST can be confirmed again without new approvals.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections import audit
from connections.access.actor import Actor
from connections.access_requests.actions import (
    AccessAction,
    CreateAction,
    compare_with_snapshot,
    find_pair,
)
from connections.audit import EventCode
from connections.change_requests import states
from connections.change_requests.actions import Recheck, RecheckResult
from connections.change_requests.follow_ups import FollowUp
from connections.change_requests.states import BecomeNoEffect, Settle, new_state
from connections.change_requests.transition import Transition
from connections.core import clock, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError
from connections.core.text import format_time
from connections.datadog.client import DatadogClient
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.inventory.fetching import SyncResult
from connections.models import (
    AccessOutcome,
    AccessRequest,
    ChangeRequest,
    MoveStep,
    RequestKind,
    State,
)

WRITE_PERMISSION = "org_connections_write"
# What the first step leads to, in place of an outcome.
REMOVED = "removed"


def kind_left(access_request: AccessRequest) -> RequestKind:
    """What is left to do. Once a move has deleted the connection, only creating it is."""
    return RequestKind.CREATE if access_request.removed_at else RequestKind(access_request.kind)


@dataclass(frozen=True, kw_only=True)
class BeginCreating(FollowUp):
    """The old connection is deleted, which was recorded at `at`."""

    at: datetime

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        return new_state(
            State.WAITING,
            step=MoveStep.POST,
            removed_at=self.at,
            connection_id=None,
            due_at=self.at,
            expires_at=self.at + time_limits.SENDING_WINDOW,
            last_checked_at=None,
            **change_request.no_check_columns,
        )

    def event(self, change_request: AccessRequest) -> audit.EventDraft:
        sentence = audit.Sentence(
            "{connection} is deleted. The new connection is created once a complete sync no longer "
            "lists the old one.",
            connection=change_request.description,
        )
        return audit.EventDraft(code=EventCode.ACCESS_REQUEST_REMOVED, sentence=sentence)


@dataclass(frozen=True, kw_only=True)
class Interrupt(FollowUp):
    """The POST didn't work and must be confirmed again, by `until`."""

    cause: str
    until: datetime
    # When to check whether it worked after all. None if it certainly didn't.
    check_at: datetime | None

    def columns(self, *, change_request: ChangeRequest, actor: Actor) -> dict[str, Any]:
        due_at = min(self.check_at or self.until, self.until)
        return new_state(State.APPROVED, cause=self.cause, due_at=due_at, expires_at=self.until)

    def event(self, change_request: AccessRequest) -> audit.EventDraft:
        sentence = _interrupted_sentence(change_request, reason=self.cause).followed_by(
            f"Confirm the POST again by {format_time(self.until)}."
        )
        return audit.EventDraft(code=EventCode.ACCESS_REQUEST_INTERRUPTED, sentence=sentence)


def interrupted_since(access_request: AccessRequest) -> datetime:
    """When Datadog returned 200 to the DELETE of a move or, if it didn't in time, when it was sent.

    Access might have existed longer.
    """
    last = [each for each in access_request.attempts.all() if each.method == "DELETE"][-1]
    if last.verdict == AttemptResult.DELETED and last.answered_at and not last.is_late:
        return last.answered_at
    return last.claimed_at


def _interrupted_sentence(access_request: AccessRequest, *, reason: str) -> audit.Sentence:
    connection = access_request.description
    since = format_time(interrupted_since(access_request))
    if reason == Cause.STILL_LISTED:
        return audit.Sentence(
            "Access for {connection} might have been interrupted since {since}: the connection was "
            "deleted, but the last list still showed it.",
            connection=connection,
            since=since,
        )
    return audit.Sentence(
        "Access for {connection} has been interrupted since {since}.",
        connection=connection,
        since=since,
    )


def _record_interruption(access_request: AccessRequest, *, actor: Actor) -> None:
    audit.record(
        code=EventCode.ACCESS_REQUEST_INTERRUPTED,
        actor=actor,
        subject=access_request,
        sentence=_interrupted_sentence(access_request, reason=access_request.reason_code),
        details={"state": access_request.state, "outcome": access_request.outcome},
    )


class MoveDeleteAction(AccessAction):
    """The first step: deletes the connection that is moved."""

    method = "DELETE"
    done = "deleted"
    checks_keys = True
    success = REMOVED
    checked_outcomes = frozenset[str]()
    deletes = True
    lists = "no longer lists"
    is_not_seen = "is still listed"

    def find_block(self, change_request: AccessRequest) -> BlockedError | None:
        """The new connection must not end with a person's account."""
        if block := super().find_block(change_request):
            return block
        credential = change_request.credential
        if not credential.key_owner_is_service_account:
            return _block(Cause.CREATOR_IS_PERSON)
        return None if credential.is_write_granted else _block(Cause.WRITE_NOT_GRANTED)

    def find_block_in(
        self, result: SyncResult, change_request: AccessRequest
    ) -> BlockedError | None:
        """Deleting must not leave a pair that these keys can't connect again."""
        if not result.is_complete:
            return None
        owner = result.identity
        if owner is None or not owner.is_service_account:
            return _block(Cause.CREATOR_IS_PERSON)
        is_granted = WRITE_PERMISSION in owner.permissions
        return None if is_granted else _block(Cause.WRITE_NOT_GRANTED)

    def compare(self, change_request: AccessRequest, *, result: SyncResult) -> Recheck:
        return compare_with_snapshot(self, change_request, result=result)

    def outcome_before_sending(self, change_request: AccessRequest, comparison: Recheck) -> str:
        might_have_worked = comparison.item is None and change_request.has_ambiguous_attempt
        return AccessOutcome.GONE if might_have_worked else AccessOutcome.STALE

    def send(
        self, change_request: AccessRequest, *, client: DatadogClient, deadline_seconds: float
    ) -> WriteResponse:
        # This is the only line in Org Admin that deletes a connection to create it again.
        return client.delete_org_connection(
            connection_id=str(change_request.moved_from), deadline_seconds=deadline_seconds
        )

    def outcome_of(
        self, verdict: AttemptResult, *, was_ambiguous: bool, had_late_success: bool
    ) -> str | None:
        match verdict:
            case AttemptResult.DELETED:
                return REMOVED
            case AttemptResult.NOT_FOUND if not was_ambiguous:
                return AccessOutcome.GONE
            case AttemptResult.REFUSED if not was_ambiguous:
                return AccessOutcome.REFUSED
        return None

    def follow(
        self, change_request: AccessRequest, transition: Transition, *, now: datetime
    ) -> Transition:
        if isinstance(transition, Settle) and transition.outcome == REMOVED:
            return BeginCreating(at=now)
        return transition

    def after_transition(self, change_request: AccessRequest, *, actor: Actor) -> None:
        """Record that access is interrupted if a DELETE with an unknown result might be why."""
        is_gone = change_request.outcome == AccessOutcome.GONE
        if is_gone and change_request.cause != Cause.NOT_FOUND:
            _record_interruption(change_request, actor=actor)

    def shows_effect(self, change_request: AccessRequest, *, result: SyncResult) -> bool | None:
        if not result.is_complete:
            return None
        return self.find(change_request, result=result) is None

    def find_outcome(self, change_request: AccessRequest, *, result: SyncResult) -> str | None:
        if self.find(change_request, result=result):
            return ""
        if not result.is_complete:
            return None
        # Long after the confirmation, nothing more is sent for it.
        sent_at, at = change_request.sending_at, result.started_at
        is_soon = sent_at and at and clock.elapsed_since(sent_at, now=at) < time_limits.MOVE_WINDOW
        is_followed = is_soon and change_request.state == State.UNKNOWN
        return REMOVED if is_followed else AccessOutcome.GONE

    def confirms_success(self, change_request: AccessRequest, item: object) -> bool:
        """Also after a late 200, two complete lists must agree before anything more is sent."""
        return False

    def settled_by_lists_sentence(
        self, change_request: AccessRequest, *, outcome: str
    ) -> audit.Sentence:
        return audit.Sentence(
            "{connection} is no longer listed. This doesn't prove that this request deleted it.",
            connection=change_request.description,
        )


class MoveCreateAction(CreateAction):
    """The second step: creates the connection of the pair again."""

    approved_once = False

    def compare(self, change_request: AccessRequest, *, result: SyncResult) -> Recheck:
        if _lists_old(change_request, result=result):
            # A list can lag behind the DELETE.
            return Recheck(
                result=RecheckResult.UNREADABLE, at=result.started_at, cause=Cause.STILL_LISTED
            )
        return super().compare(change_request, result=result)

    def find_outcome(self, change_request: AccessRequest, *, result: SyncResult) -> str | None:
        if _lists_old(change_request, result=result):
            return None
        return super().find_outcome(change_request, result=result)

    def follow(
        self, change_request: AccessRequest, transition: Transition, *, now: datetime
    ) -> Transition:
        """Instead of ending without a connection, the POST can be confirmed again for an hour."""
        reason = _reason_not_created(transition)
        removed_at = change_request.removed_at
        if reason is None or removed_at is None:
            return transition
        if change_request.reason_code == Cause.STILL_LISTED:
            # That list can have lagged, so the connection might be gone all the same.
            reason = Cause.STILL_LISTED
        is_expired = change_request.state == State.APPROVED
        if not is_expired and clock.elapsed_since(removed_at, now=now) < time_limits.MOVE_WINDOW:
            # Only after an attempt that might have worked can lists find no effect.
            check_at = transition.due_at if isinstance(transition, BecomeNoEffect) else None
            until = removed_at + time_limits.MOVE_WINDOW
            return Interrupt(cause=reason, until=until, check_at=check_at)
        if isinstance(transition, BecomeNoEffect):
            return transition
        if is_expired and change_request.has_ambiguous_attempt:
            return states.stop_trying(cause=reason, was_ambiguous=True, due_at=now)
        last = change_request.step_attempts.last()
        was_refused = last is not None and last.verdict in _REFUSALS
        outcome = transition.outcome if isinstance(transition, Settle) else ""
        is_refused = was_refused or outcome in _REFUSED_OUTCOMES
        return Settle(
            outcome=AccessOutcome.REFUSED if is_refused else AccessOutcome.NOT_SENT,
            cause=reason if reason == Cause.STILL_LISTED else Cause.ACCESS_GONE,
            details={"cause": change_request.reason_code or reason},
        )

    def unlisted_event(self, change_request: AccessRequest) -> audit.EventDraft:
        """People learn it at once, although a later list can still show the connection."""
        sentence = audit.Sentence(
            "Access for {connection} might have been interrupted since {since}: Datadog confirmed "
            "the POST, but a complete sync doesn't list the new connection.",
            connection=change_request.description,
            since=format_time(interrupted_since(change_request)),
        )
        return audit.EventDraft(code=EventCode.ACCESS_REQUEST_INTERRUPTED, sentence=sentence)

    def after_transition(self, change_request: AccessRequest, *, actor: Actor) -> None:
        super().after_transition(change_request, actor=actor)
        is_told = change_request.state in {State.UNKNOWN, State.SETTLED}
        is_unclear = change_request.reason_code == Cause.STILL_LISTED
        if is_told and (change_request.interrupts_access or is_unclear):
            _record_interruption(change_request, actor=actor)


_REFUSALS = (AttemptResult.REFUSED, AttemptResult.NOT_FOUND, AttemptResult.ALREADY_EXISTS)
_REFUSED_OUTCOMES = (AccessOutcome.REFUSED, AccessOutcome.ALREADY_EXISTS)
_NOT_CREATED = (AccessOutcome.REFUSED, AccessOutcome.NOT_SENT, AccessOutcome.EXPIRED)


def _reason_not_created(transition: Transition) -> str | None:
    """Why this transition would end a move without a new connection. None if it doesn't."""
    if isinstance(transition, BecomeNoEffect):
        return Cause.LISTINGS_AGREE
    # Just after the DELETE, a 409 can be about the old connection. Only a list shows another one.
    if isinstance(transition, Settle) and (
        transition.outcome in _NOT_CREATED or transition.cause == Cause.CONFLICT
    ):
        return transition.cause
    return None


def _lists_old(access_request: AccessRequest, *, result: SyncResult) -> bool:
    item = find_pair(access_request, result=result)
    return item is not None and item.id == str(access_request.moved_from)


def _block(cause: Cause) -> BlockedError:
    return BlockedError(cause_text(cause), cause=cause)


# Named as the steps of a move.
DELETE = MoveDeleteAction()
POST = MoveCreateAction()
