"""What must always be true of every access request and agreement, by the ledger."""

from collections.abc import Mapping, Sequence

from connections.agreements.agreed import find_agreements
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessState,
    AuditEvent,
    Deletion,
    Outcome,
    RequestKind,
    State,
)
from sandbox.entities import Connection
from tests.faults.model.expected_state import Ledger, WrongListWorld, newest_completed, pair_of

# Outcomes that mean that we changed nothing at Datadog.
NOT_DONE_BY_US = {
    AccessOutcome.EXTENDED,
    AccessOutcome.ALREADY_EXISTS,
    AccessOutcome.ALREADY_AS_REQUESTED,
    AccessOutcome.REFUSED,
    AccessOutcome.NOT_SENT,
    AccessOutcome.STALE,
    AccessOutcome.DECLINED,
    AccessOutcome.WITHDRAWN,
    AccessOutcome.EXPIRED,
}
CREATING = {RequestKind.CREATE, RequestKind.RESTORE}
SUCCESSES = {AccessOutcome.CREATED, AccessOutcome.CHANGED}
# Outcomes, besides these, that only lists after a lost response lead to.
BY_LISTS = {AccessOutcome.EXISTS_UNATTRIBUTED, AccessOutcome.CHANGED_ELSEWHERE}

# People decided about a deletion at an end.
KEPT = {Outcome.DECLINED, Outcome.WITHDRAWN, Outcome.UNRESOLVED}


def check_access_outcome(access_request: AccessRequest, *, ledger: Ledger) -> None:
    """The outcome claims no more than what happened, and hides nothing that did."""
    sent, outcome = ledger.of(access_request.pk), access_request.outcome
    statuses = ledger.statuses_in_time(access_request.pk)
    is_ambiguous = any(write.is_ambiguous for write in sent)
    known_id = access_request.connection_id
    if outcome in NOT_DONE_BY_US:
        assert not any(write.executed for write in sent), outcome
        # It must not have been done earlier or be done later: that would be unknown then.
        assert not is_ambiguous, outcome
    if outcome == AccessOutcome.CREATED:
        assert is_ambiguous or 201 in statuses or 200 in statuses
        # What someone else created is never called ours.
        assert known_id is None or known_id in ledger.created
    if outcome == AccessOutcome.CHANGED:
        assert is_ambiguous or 200 in statuses
    _check_cause(access_request, ledger=ledger)
    if outcome in BY_LISTS or access_request.state in {State.UNKNOWN, AccessState.NO_EFFECT}:
        assert is_ambiguous
    if access_request.verified_at:
        assert outcome in SUCCESSES
        assert (known_id, tuple(access_request.types_after)) in ledger.listed_types
    if access_request.contradicted_at:
        assert outcome in SUCCESSES


def _check_cause(access_request: AccessRequest, *, ledger: Ledger) -> None:
    """What a list or a response said is why it ended as it did."""
    sent, outcome = ledger.of(access_request.pk), access_request.outcome
    statuses = ledger.statuses_in_time(access_request.pk)
    known_id = access_request.connection_id
    if outcome in BY_LISTS:
        assert known_id in ledger.listed_as_present
    if outcome == AccessOutcome.GONE:
        assert 404 in statuses or known_id in ledger.listed_as_absent
    if outcome == AccessOutcome.ALREADY_EXISTS:
        assert 409 in statuses or known_id in ledger.listed_as_present
    if outcome == AccessOutcome.REFUSED:
        assert sent[-1].response
        assert sent[-1].response.verdict in {"refused", "not_found"}


def check_agreements(*, ledger: Ledger, events: Mapping[str, Sequence[AuditEvent]]) -> None:
    """A pair's agreement is what its newest completed request gave, unless a person edited it."""
    pairs = {asked_for.pair for asked_for in ledger.asked_for.values()}
    agreements = find_agreements(list(pairs)) if pairs else {}
    for pair in pairs:
        newest = newest_completed(pair)
        if newest is None:
            continue
        [settled] = [
            event.seq for event in events[str(newest.pk)] if event.code == "access_request.settled"
        ]
        if ledger.edited_at.get(pair, 0) > settled:
            continue
        asked_for, agreement = ledger.asked_for[newest.request_id], agreements[pair]
        agreed = (agreement.connection_types, agreement.ends_on, agreement.owner_text)
        assert agreed == (asked_for.types, asked_for.ends_on, newest.owner_text)


def check_final_access(*, world: WrongListWorld, ledger: Ledger) -> None:
    """After enough checks with correct lists, nothing is left unknown, and access has ended."""
    for access_request in AccessRequest.objects.all():
        state, sent = access_request.state, ledger.of(access_request.pk)
        assert state in {State.SETTLED, AccessState.NO_EFFECT}, state
        pair = pair_of(access_request)
        if state == AccessState.NO_EFFECT and access_request.kind in CREATING:
            assert world.between(pair.source_org_id, pair.sink_org_id) is None
        if any(write.executed for write in sent):
            assert access_request.outcome not in NOT_DONE_BY_US
    for pair in {asked_for.pair for asked_for in ledger.asked_for.values()}:
        newest, listed = newest_completed(pair), world.between(pair.source_org_id, pair.sink_org_id)
        if newest and listed and newest.ends_on and newest.ends_on < world.clock.at.date():
            _check_ended(newest, listed=listed)


def _check_ended(newest: AccessRequest, *, listed: Connection) -> None:
    """A pair that is still connected after its end waits for people, or they decided to keep it."""
    of_pair = pair_of(newest)._asdict()
    open_requests = [
        each
        for kind in (Deletion, AccessRequest)
        for each in kind.objects.filter(**of_pair, settled_at=None)
    ]
    if open_requests:
        assert all(each.has_no_effect or not each.requested_by_id for each in open_requests)
        return
    if newest.deletion and newest.deletion.outcome in KEPT:
        return
    not_ended = AuditEvent.objects.filter(
        code="access_request.not_ended", subject_id=str(newest.pk)
    )
    assert listed.id != str(newest.connection_id)
    assert not_ended.exists()
