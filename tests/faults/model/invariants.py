"""What must always be true of every deletion, by the ledger and not by the product."""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from connections.evidence.comparison import compare_all
from connections.evidence.differing import DifferingRecords
from connections.evidence.records import kind_of
from connections.models import GONE_OUTCOMES, Attempt, AuditEvent, Deletion, Outcome, State
from connections.verifier.events import DELETION
from tests.faults.model.expected_state import Ledger

# The states that one step can lead to from each state. Except in settled, a step can also change
# nothing.
ALLOWED_STATES_AFTER: dict[str, set[str]] = {
    State.REQUESTED: {State.APPROVED, State.SENDING, State.SETTLED},
    State.APPROVED: {State.SENDING, State.SETTLED},
    State.SENDING: {State.WAITING, State.UNKNOWN, State.SETTLED},
    State.WAITING: {State.SENDING, State.UNKNOWN, State.SETTLED},
    State.UNKNOWN: {State.STILL_PRESENT, State.SETTLED},
    State.STILL_PRESENT: {State.SENDING, State.UNKNOWN, State.SETTLED},
    State.SETTLED: set(),
}
# Outcomes that mean we deleted nothing. Stale only describes the check before sending again.
NOT_DELETED_BY_US = {
    Outcome.REFUSED,
    Outcome.NOT_SENT,
    Outcome.DECLINED,
    Outcome.WITHDRAWN,
    Outcome.EXPIRED,
    Outcome.ALREADY_ABSENT,
}

# STALE: someone else recreated or changed the connection before the next attempt.
POSSIBLE_AFTER_A_DELETE = {
    Outcome.DELETED,
    Outcome.GONE_UNATTRIBUTED,
    Outcome.UNRESOLVED,
    Outcome.STALE,
}


@dataclass(kw_only=True)
class LastSeen:
    """What was true of one deletion at the last check."""

    epoch: int = 0
    approval_round: int = 1
    settled: tuple[Any, ...] = ()
    contradicted_at: Any = None
    events: int = 0


class Invariants:
    """Checks the whole database after each step."""

    def __init__(self, *, ledger: Ledger) -> None:
        self.ledger = ledger
        # What the last check saw; while nothing changed, no invariant can newly fail.
        self.seen: tuple[Any, Any] = ((), None)
        self.states: set[str] = set()
        self.remembered: dict[UUID, LastSeen] = {}

    def check(self) -> None:
        """Raise AssertionError if an invariant doesn't hold."""
        deletions = list(Deletion.objects.order_by("pk"))
        seen = [
            (
                deletion.pk,
                deletion.state,
                deletion.outcome,
                deletion.epoch,
                deletion.contradicted_at,
                deletion.verified_at,
            )
            for deletion in deletions
        ]
        newest = AuditEvent.objects.values_list("seq", flat=True).first()
        if (seen, newest) == self.seen:
            return
        self.seen = (seen, newest)
        self.states = {deletion.state for deletion in deletions}
        attempts: dict[UUID, list[Attempt]] = {}
        for attempt in Attempt.objects.order_by("number"):
            attempts.setdefault(attempt.deletion_id, []).append(attempt)
        events: dict[str, list[AuditEvent]] = {}
        for event in AuditEvent.objects.filter(subject_type="deletion").order_by("seq"):
            events.setdefault(event.subject_id, []).append(event)
        still_open = Counter(
            (deletion.site, deletion.connection_id)
            for deletion in deletions
            if not deletion.outcome
        )
        assert max(still_open.values(), default=0) <= 1
        for deletion in deletions:
            tried, recorded = attempts.get(deletion.pk, []), events[str(deletion.pk)]
            self._check_attempts(deletion, tried)
            self._check_outcome(deletion)
            self._check_events(deletion, recorded, late=sum(one.is_late for one in tried))
            self._check_memory(deletion, events=len(recorded))
        kind = kind_of(DELETION)
        differing = DifferingRecords(noun=kind.noun)
        list(compare_all(kind, differing=differing))
        assert not differing.count, differing.message

    def _check_attempts(self, deletion: Deletion, attempts: list[Attempt]) -> None:
        """Each DELETE has its attempt, and vice versa."""
        assert [attempt.number for attempt in attempts] == list(range(1, deletion.epoch + 1))
        sent_ids = [attempt.attempt for attempt in self.ledger.of(deletion.pk)]
        assert sent_ids == [attempt.pk for attempt in attempts]
        for attempt, sent in zip(attempts, self.ledger.of(deletion.pk), strict=True):
            sent.is_late = attempt.is_late
            if attempt.verdict:
                assert sent.response
                assert attempt.verdict == sent.response.verdict
                assert attempt.http_status == sent.response.http_status

    def _check_outcome(self, deletion: Deletion) -> None:
        """The outcome claims no more than what happened, and hides nothing that did."""
        deletes = self.ledger.of(deletion.pk)
        statuses = self.ledger.statuses_in_time(deletion.pk)
        if deletion.outcome == Outcome.DELETED and 200 not in statuses:
            assert 200 in self.ledger.late_statuses(deletion.pk)
            assert deletion.verified_at
        if deletion.outcome in NOT_DELETED_BY_US:
            assert not any(delete.executed for delete in deletes), deletion.outcome
            # It must not have been deleted earlier or be deleted later: that would be unknown then.
            assert not any(delete.is_ambiguous for delete in deletes), deletion.outcome
        if deletion.outcome == Outcome.ALREADY_ABSENT:
            assert 404 in statuses or deletion.connection_id in self.ledger.listed_as_absent
        if deletion.outcome == Outcome.REFUSED:
            assert deletes[-1].response
            assert deletes[-1].response.verdict == "refused"
        if deletion.outcome == Outcome.GONE_UNATTRIBUTED:
            assert any(delete.is_ambiguous for delete in deletes)
            assert 404 in statuses or deletion.connection_id in self.ledger.listed_as_absent
        if deletion.state == State.UNKNOWN:
            assert any(delete.is_ambiguous for delete in deletes)
        if deletion.verified_at:
            assert deletion.connection_id in self.ledger.listed_as_absent
        if deletion.contradicted_at:
            assert deletion.outcome in GONE_OUTCOMES
            assert deletion.connection_id in self.ledger.listed_as_present

    def _check_events(self, deletion: Deletion, events: list[AuditEvent], *, late: int) -> None:
        """The events alone lead to the same state as the row."""
        state, outcome, epoch, approval_round = str(State.REQUESTED), "", 0, 1
        codes = Counter(event.code for event in events)
        assert events[0].code == "deletion.requested"
        for event in events:
            if event.code == "deletion.sending":
                assert event.details["epoch"] == epoch + 1
                epoch += 1
            if "state" not in event.details:
                continue
            to = event.details["state"]
            # An approval covers one attempt: a new round begins when its result is unknown.
            is_over = to == State.UNKNOWN != state
            is_declined = event.code == "deletion.declined" and to == State.STILL_PRESENT
            is_lapsed = event.code == "deletion.approvals_lapsed"
            approval_round += int(is_over or is_declined or is_lapsed)
            assert to == state or to in ALLOWED_STATES_AFTER[state], (state, to, event.code)
            assert not outcome or to == state
            state, outcome = to, event.details["outcome"]
        assert (state, outcome, epoch) == (deletion.state, deletion.outcome, deletion.epoch)
        assert approval_round == deletion.approval_round
        assert codes["deletion.contradicted"] == int(deletion.contradicted_at is not None)
        assert codes["deletion.answered_late"] == late
        if outcome == Outcome.GONE_UNATTRIBUTED:
            # A 200 recorded before, in time or not, proves that it was deleted.
            settled = next(event for event in events if event.code == "deletion.settled")
            before = [event for event in events if event.seq < settled.seq]
            assert not any(event.details.get("verdict") == "deleted" for event in before)

    def _check_memory(self, deletion: Deletion, *, events: int) -> None:
        """Nothing leaves settled, an alarm is never taken back, and the epoch only grows."""
        known = self.remembered.setdefault(deletion.pk, LastSeen())
        assert deletion.epoch >= known.epoch
        assert deletion.approval_round >= known.approval_round
        assert events >= known.events
        settled = (deletion.outcome, deletion.cause, deletion.settled_at)
        if known.settled:
            assert settled == known.settled
        if known.contradicted_at:
            assert deletion.contradicted_at == known.contradicted_at
        known.epoch, known.events = deletion.epoch, events
        known.approval_round = deletion.approval_round
        known.contradicted_at = deletion.contradicted_at
        known.settled = settled if deletion.state == State.SETTLED else ()


def check_final_state(*, present: set[str], ledger: Ledger) -> None:
    """After enough checks with correct lists, nothing is left unknown or lost."""
    for deletion in Deletion.objects.all():
        is_there = str(deletion.connection_id) in present
        assert deletion.state in {State.SETTLED, State.STILL_PRESENT}, deletion.state
        if deletion.state == State.STILL_PRESENT:
            assert is_there
        if any(attempt.executed for attempt in ledger.of(deletion.pk)):
            assert deletion.outcome in POSSIBLE_AFTER_A_DELETE
