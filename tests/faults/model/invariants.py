"""What must always be true of every request, by the ledger and not by the product."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from connections.evidence.comparison import compare_all
from connections.evidence.differing import DifferingRecords
from connections.evidence.records import kind_of
from connections.models import (
    GONE_OUTCOMES,
    AccessRequest,
    AuditEvent,
    ChangeRequest,
    Deletion,
    Outcome,
    RequestKind,
    State,
)
from connections.operations.due import KINDS
from connections.verifier.events import ACCESS_REQUEST, DELETION
from tests.faults.model.access_invariants import (
    check_access_outcome,
    check_agreements,
    check_final_access,
    check_move,
)
from tests.faults.model.expected_state import (
    Ledger,
    WrongListWorld,
    pair_of,
    round_ends_in,
)

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
# Of a move besides: its POST follows once lists show that the DELETE worked. If it doesn't work, it
# can be confirmed again.
OF_MOVES_TOO: dict[str, set[str]] = {
    State.SENDING: {State.APPROVED},
    State.WAITING: {State.APPROVED},
    State.UNKNOWN: {State.WAITING, State.APPROVED},
    State.APPROVED: {State.UNKNOWN},
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


def _state_of(change_request: ChangeRequest, state: str) -> str:
    """The state, with one name for having had no effect."""
    return State.STILL_PRESENT if state == change_request.no_effect else state


def _allowed_states_after(change_request: ChangeRequest) -> dict[str, set[str]]:
    is_move = isinstance(change_request, AccessRequest) and change_request.kind == RequestKind.MOVE
    if not is_move:
        return ALLOWED_STATES_AFTER
    return {
        state: states | OF_MOVES_TOO.get(state, set())
        for state, states in ALLOWED_STATES_AFTER.items()
    }


@dataclass(kw_only=True)
class LastSeen:
    """What was true of one request at the last check."""

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
        requests = [row for kind in KINDS for row in kind._default_manager.order_by("pk")]
        seen = [
            (each.pk, each.state, each.outcome, each.epoch, each.contradicted_at, each.verified_at)
            for each in requests
        ]
        newest = AuditEvent.objects.values_list("seq", flat=True).first()
        if (seen, newest) == self.seen:
            return
        self.seen = (seen, newest)
        self.states = {_state_of(each, each.state) for each in requests}
        events: dict[str, list[AuditEvent]] = {}
        nouns = [kind.noun for kind in KINDS]
        for event in AuditEvent.objects.filter(subject_type__in=nouns).order_by("seq"):
            events.setdefault(event.subject_id, []).append(event)
        self._check_open([each for each in requests if not each.outcome])
        for each in requests:
            tried, recorded = list(each.attempts.order_by("number")), events[str(each.pk)]
            self._check_attempts(each, tried)
            if isinstance(each, Deletion):
                self._check_outcome(each)
            elif isinstance(each, AccessRequest):
                check_access_outcome(each, ledger=self.ledger)
                check_move(each, ledger=self.ledger, events=recorded)
            self._check_events(each, recorded, late=sum(one.is_late for one in tried))
            self._check_memory(each, events=len(recorded))
        for subject in (DELETION, ACCESS_REQUEST):
            kind = kind_of(subject)
            differing = DifferingRecords(noun=kind.noun)
            list(compare_all(kind, differing=differing))
            assert not differing.count, differing.message
        check_agreements(ledger=self.ledger)

    @staticmethod
    def _check_open(requests: Sequence[ChangeRequest]) -> None:
        """A pair has one open access request, and one of them and a deletion if none was sent."""
        deletions = [each for each in requests if isinstance(each, Deletion)]
        of_access = Counter(pair_of(each) for each in requests if isinstance(each, AccessRequest))
        of_connections = Counter((each.site, each.connection_id) for each in deletions)
        assert max(of_connections.values(), default=0) <= 1
        assert max(of_access.values(), default=0) <= 1
        for deletion in deletions:
            of_pair = [each for each in requests if pair_of(each) == pair_of(deletion)]
            assert len(of_pair) == 1 or not any(each.epoch for each in of_pair)

    def _check_attempts(self, change_request: ChangeRequest, attempts: list[Any]) -> None:
        """Each request that was sent has its attempt, and vice versa."""
        numbers = list(range(1, change_request.epoch + 1))
        assert [attempt.number for attempt in attempts] == numbers
        sent_ids = [attempt.attempt for attempt in self.ledger.of(change_request.pk)]
        assert sent_ids == [attempt.pk for attempt in attempts]
        for attempt, sent in zip(attempts, self.ledger.of(change_request.pk), strict=True):
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

    def _check_events(
        self, change_request: ChangeRequest, events: list[AuditEvent], *, late: int
    ) -> None:
        """The events alone lead to the same state as the row."""
        noun = change_request.noun
        state, outcome, epoch, approval_round = str(State.REQUESTED), "", 0, 1
        codes = Counter(event.code for event in events)
        over = _state_of(change_request, round_ends_in(change_request))
        allowed = _allowed_states_after(change_request)
        assert events[0].code == f"{noun}.requested"
        for event in events:
            if event.code == f"{noun}.sending":
                assert event.details["epoch"] == epoch + 1
                epoch += 1
            if "state" not in event.details:
                continue
            to = _state_of(change_request, event.details["state"])
            # An approval covers one attempt, or a move: a new round begins then.
            is_over = to == over != state
            is_declined = event.code == f"{noun}.declined" and to == State.STILL_PRESENT
            is_lapsed = event.code == f"{noun}.approvals_lapsed"
            approval_round += int(is_over or is_declined or is_lapsed)
            assert to == state or to in allowed[state], (state, to, event.code)
            assert not outcome or to == state
            state, outcome = to, event.details["outcome"]
        stored = _state_of(change_request, change_request.state)
        assert (state, outcome, epoch) == (stored, change_request.outcome, change_request.epoch)
        assert approval_round == change_request.approval_round
        assert codes[f"{noun}.contradicted"] == int(change_request.contradicted_at is not None)
        assert codes[f"{noun}.answered_late"] == late
        if outcome == Outcome.GONE_UNATTRIBUTED:
            # A 200 recorded before, in time or not, proves that it was deleted.
            settled = next(event for event in events if event.code == "deletion.settled")
            before = [event for event in events if event.seq < settled.seq]
            assert not any(event.details.get("verdict") == "deleted" for event in before)

    def _check_memory(self, change_request: ChangeRequest, *, events: int) -> None:
        """Nothing leaves settled, an alarm is never taken back, and the epoch only grows."""
        known = self.remembered.setdefault(change_request.pk, LastSeen())
        assert change_request.epoch >= known.epoch
        assert change_request.approval_round >= known.approval_round
        assert events >= known.events
        settled = (change_request.outcome, change_request.cause, change_request.settled_at)
        if known.settled:
            assert settled == known.settled
        if known.contradicted_at:
            assert change_request.contradicted_at == known.contradicted_at
        known.epoch, known.events = change_request.epoch, events
        known.approval_round = change_request.approval_round
        known.contradicted_at = change_request.contradicted_at
        known.settled = settled if change_request.state == State.SETTLED else ()


def check_final_state(*, world: WrongListWorld, ledger: Ledger) -> None:
    """After enough checks with correct lists, nothing is left unknown or lost."""
    present = {connection.id for connection in world.connections()}
    for deletion in Deletion.objects.all():
        is_there = str(deletion.connection_id) in present
        if deletion.state == State.REQUESTED and not deletion.requested_by_id:
            # At the end of access, it waits for people.
            continue
        assert deletion.state in {State.SETTLED, State.STILL_PRESENT}, deletion.state
        if deletion.state == State.STILL_PRESENT:
            assert is_there
        if any(attempt.executed for attempt in ledger.of(deletion.pk)):
            assert deletion.outcome in POSSIBLE_AFTER_A_DELETE
    check_final_access(world=world, ledger=ledger)
