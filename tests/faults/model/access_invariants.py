"""What must always be true of every access request and agreement, by the ledger."""

from collections.abc import Sequence
from typing import Any

from connections.agreements.agreed import find_agreements
from connections.models import (
    COMPLETED,
    AccessOutcome,
    AccessRequest,
    AccessState,
    AuditEvent,
    Deletion,
    MoveStep,
    OrgPair,
    Outcome,
    RequestKind,
    State,
)
from sandbox.entities import Connection
from tests.faults.model.expected_state import (
    OWNER,
    Ledger,
    WrongListWorld,
    completed_requests,
    newest_completed,
    pair_of,
)

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
SUCCESSES = {AccessOutcome.CREATED, AccessOutcome.CHANGED}
# Outcomes, besides these, that only lists after a lost response lead to.
BY_LISTS = {AccessOutcome.EXISTS_UNATTRIBUTED, AccessOutcome.CHANGED_ELSEWHERE}

# People decided about a deletion at an end.
KEPT = {Outcome.DECLINED, Outcome.WITHDRAWN, Outcome.UNRESOLVED}


def check_access_outcome(access_request: AccessRequest, *, ledger: Ledger) -> None:
    """The outcome claims no more than what happened, and hides nothing that did."""
    outcome, step = access_request.outcome, access_request.step
    sent = ledger.of(access_request.pk, step)
    statuses = ledger.statuses_in_time(access_request.pk, step)
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
    outcome, step = access_request.outcome, access_request.step
    sent = ledger.of(access_request.pk, step)
    statuses = ledger.statuses_in_time(access_request.pk, step)
    known_id = access_request.connection_id
    if outcome in BY_LISTS:
        assert known_id in ledger.listed_as_present
    if outcome == AccessOutcome.GONE:
        assert 404 in statuses or known_id in ledger.listed_as_absent
    if outcome == AccessOutcome.ALREADY_EXISTS:
        assert 409 in statuses or known_id in ledger.listed_as_present
    if outcome == AccessOutcome.REFUSED:
        assert sent[-1].response
        refusals = {"refused", "not_found"} | ({"already_exists"} if step else set())
        assert sent[-1].response.verdict in refusals


def check_move(
    access_request: AccessRequest, *, ledger: Ledger, events: Sequence[AuditEvent]
) -> None:
    """A move that took access, or might have, and gave none back has told people."""
    if access_request.kind != RequestKind.MOVE:
        return
    state, outcome = access_request.state, access_request.outcome
    deletes = ledger.of(access_request.pk, "DELETE")
    is_creating = access_request.step == MoveStep.POST
    is_running = state in {State.SENDING, State.WAITING}
    took_access = any(write.executed for write in deletes) and outcome == AccessOutcome.GONE
    is_connected = outcome in {*COMPLETED, AccessOutcome.STALE}
    alerts = [event for event in events if event.code == "access_request.interrupted"]
    if (is_creating and not is_running and not is_connected) or took_access:
        assert alerts
    if outcome == AccessOutcome.CREATED:
        assert is_creating
        assert access_request.connection_id != access_request.moved_from
        # Datadog confirmed it, and no list has ever shown it, not even as someone else changed it.
        was_listed = access_request.connection_id in ledger.listed_as_present
        assert alerts or was_listed or not access_request.contradicted_at


def check_agreements(*, ledger: Ledger) -> None:
    """A pair's agreement is what was named in completed requests and edits, in their order."""
    pairs = {asked_for.pair for asked_for in ledger.asked_for.values()}
    agreements = find_agreements(list(pairs)) if pairs else {}
    for pair in pairs:
        agreed = _agreed(pair, ledger=ledger)
        agreement = agreements.get(pair)
        assert bool(agreement) == bool(agreed)
        assert all(getattr(agreement, name) == value for name, value in agreed.items())


def _agreed(pair: OrgPair, *, ledger: Ledger) -> dict[str, Any]:
    """What the agreement of the pair must say. Empty if it has none."""
    changes = dict(ledger.edits.get(pair, {}))
    for seq, completed in completed_requests(pair):
        asked_for = ledger.asked_for[completed.request_id]
        agreed = {
            "connection_types": asked_for.types,
            "ends_on": asked_for.ends_on,
            "owner_text": OWNER,
        }
        changes[seq] = {name: agreed[name] for name in asked_for.named}
    # A first agreement has no data types that no one named.
    values: dict[str, Any] = {"connection_types": []} if changes else {}
    for seq in sorted(changes):
        values |= changes[seq]
    return values


def check_final_access(*, world: WrongListWorld, ledger: Ledger) -> None:
    """After enough checks with correct lists, nothing is left unknown, and access has ended."""
    for access_request in AccessRequest.objects.all():
        state, sent = access_request.state, ledger.of(access_request.pk)
        assert state in {State.SETTLED, AccessState.NO_EFFECT}, state
        pair = pair_of(access_request)
        method = sent[-1].method if sent else ""
        if state == AccessState.NO_EFFECT and method != "PATCH":
            there = world.between(pair.source_org_id, pair.sink_org_id)
            # What was to be created isn't there, and what was to be moved still is.
            moved_from = str(access_request.moved_from) if method == "DELETE" else None
            assert (there.id if there else None) == moved_from
        if any(write.executed for write in ledger.of(access_request.pk, access_request.step)):
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
