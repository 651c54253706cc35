"""What is particular to a deletion: it sends a DELETE, and lists prove it by not having it."""

from datetime import datetime, timedelta

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.change_requests.actions import Action, Recheck, RecheckResult, changed_fields
from connections.core import time_limits
from connections.core.causes import Cause
from connections.core.errors import BlockedError
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import OrgConnection
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.deletions import confirmations
from connections.inventory import contradictions, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    GONE_OUTCOMES,
    ApprovalPolicy,
    Batch,
    BatchState,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    Person,
    snapshot_digest,
)


class DeleteAction(Action[Deletion]):
    """Deletes an org connection."""

    method = "DELETE"
    permission = "delete connections"
    done = "deleted"

    can_skip_recheck = True
    success = Outcome.DELETED
    checked_outcomes = frozenset(GONE_OUTCOMES)
    deletes = True
    requester_sends = True

    lists = "no longer lists"
    is_not_seen = "is still listed"

    def can_confirm(self, change_request: Deletion, *, person: Person | None) -> bool:
        """Whether it is up to this person. Anyone can if no approval is needed."""
        is_up_to_anyone = change_request.policy == ApprovalPolicy.NONE
        return is_up_to_anyone or change_request.can_be_confirmed_by(person)

    def confirmation_text(self, change_request: Deletion, *, actor: Actor) -> str:
        return confirmations.confirmation_text(change_request, actor=actor)

    def find_block(self, change_request: Deletion) -> BlockedError | None:
        """Why break glass no longer replaces its approvals, or None."""
        if not change_request.break_glass_applies:
            return None
        # Not `break_glass_by`, which might have been read before the pre-send check.
        breaker = Person.objects.get(pk__in=[change_request.break_glass_by_id])
        if permissions.can_break_glass(person_actor(person=breaker), deletion=change_request):
            return None
        text = f"{breaker} can no longer use break glass."
        return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)

    def lock_parent(self, change_request: Deletion) -> bool:
        """Lock its bulk deletion, so that a pause waits for this commit.

        Return whether that is running.
        """
        if not change_request.is_run_by_batch:
            return True
        batches = Batch.objects.select_for_update(no_key=True).filter(
            pk__in=[change_request.batch_id]
        )
        return batches.values_list("state", flat=True).get() == BatchState.RUNNING

    def requires_listing(self, change_request: Deletion) -> bool:
        """Whether a snapshot was shown to its requester."""
        return change_request.is_reviewed

    def compare(self, change_request: Deletion, *, result: SyncResult) -> Recheck:
        item = self.find(change_request, result=result)
        if item is None:
            missing = RecheckResult.ABSENT if result.is_complete else RecheckResult.UNREADABLE
            return Recheck(
                result=missing,
                at=result.started_at,
                cause=result.cause,
                shows_effect=result.is_complete,
            )
        listed = OrgConnectionSnapshot(**storing.snapshot_values(item))
        digest = snapshot_digest(
            site=change_request.site,
            connection_id=str(change_request.connection_id),
            fields=listed,
        )
        is_same = digest == change_request.digest
        return Recheck(
            result=RecheckResult.SAME if is_same else RecheckResult.CHANGED,
            at=result.started_at,
            listed=listed,
            changes=changed_fields(change_request, listed),
        )

    def outcome_before_sending(self, change_request: Deletion, comparison: Recheck) -> str:
        if comparison.listed:
            return Outcome.STALE
        might_have_worked = change_request.has_ambiguous_attempt
        return Outcome.GONE_UNATTRIBUTED if might_have_worked else Outcome.ALREADY_ABSENT

    def send(
        self, change_request: Deletion, *, client: DatadogClient, deadline_seconds: float
    ) -> WriteResponse:
        # Only this line and the one that begins a move can delete a connection.
        return client.delete_org_connection(
            connection_id=str(change_request.connection_id), deadline_seconds=deadline_seconds
        )

    def outcome_of(
        self, verdict: AttemptResult, *, was_ambiguous: bool, had_late_success: bool
    ) -> str | None:
        match verdict:
            case AttemptResult.DELETED:
                return Outcome.DELETED
            case AttemptResult.NOT_FOUND if had_late_success:
                return None
            case AttemptResult.NOT_FOUND:
                return Outcome.GONE_UNATTRIBUTED if was_ambiguous else Outcome.ALREADY_ABSENT
            case AttemptResult.REFUSED if not was_ambiguous:
                return Outcome.REFUSED
        return None

    def after_transition(self, change_request: Deletion, *, actor: Actor) -> None:
        """If it was the end of access, a worker looks later whether the connection is gone."""
        if change_request.settled_at and change_request.requested_by_id is None:
            # After a refusal, at once: another credential might do.
            is_refused = change_request.outcome == Outcome.REFUSED
            wait = timedelta() if is_refused else time_limits.END_RETRY_AFTER
            change_request.ended_requests.update(end_due_at=change_request.settled_at + wait)

    def find(self, change_request: Deletion, *, result: SyncResult) -> OrgConnection | None:
        return result.find(change_request.connection_id)

    def shows_effect(self, change_request: Deletion, *, result: SyncResult) -> bool | None:
        if self.find(change_request, result=result) is not None:
            return False
        return True if result.is_complete else None

    def find_outcome(self, change_request: Deletion, *, result: SyncResult) -> str | None:
        is_gone = self.shows_effect(change_request, result=result)
        return None if is_gone is None else Outcome.GONE_UNATTRIBUTED if is_gone else ""

    def settled_by_lists_sentence(
        self, change_request: Deletion, *, outcome: str
    ) -> audit.Sentence:
        return audit.Sentence(
            "{connection} is no longer listed. This doesn't prove that this request deleted it.",
            connection=change_request.description,
        )

    def flag_contradiction(
        self, change_request: Deletion, *, at: datetime, listed_by: str, actor: Actor
    ) -> None:
        contradictions.flag_contradiction(
            deletion=change_request, at=at, listed_by=listed_by, actor=actor
        )


DELETE = DeleteAction()
