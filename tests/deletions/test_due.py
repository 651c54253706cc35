"""What becomes of a deletion by itself, as time passes."""

import pytest

from connections import audit
from connections.access.actor import WORKER
from connections.models import Credential, Deletion, Outcome, Person, State
from connections.operations import due
from sandbox.faults import (
    EXECUTES_THEN_500,
    EXECUTES_THEN_RESET,
    RESET_AFTER_READING,
    RETURNS_200_WITHOUT_DELETING,
    rate_limited,
)
from sandbox.server import SandboxServer
from tests.deletions.conftest import Ask
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def worked_off(deletion: Deletion) -> Deletion:
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    return deletion


def test_nothing_is_due_before_its_time(ask: Ask, clock: SettableClock) -> None:
    deletion = ask(rate_limited(reset="7"))
    clock.advance(seconds=6)
    assert due.run_due(actor=WORKER) == []
    assert deletion.state == State.WAITING


def test_a_waiting_one_is_sent_when_datadog_said(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    assert worked_off(deletion).outcome == Outcome.DELETED
    assert deletion.attempts.count() == 2
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 2
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 1


def test_waiting_longer_than_15_minutes_ends_with_nothing_sent(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(rate_limited(reset="300"))
    clock.advance(minutes=16)
    assert worked_off(deletion).outcome == Outcome.NOT_SENT
    assert deletion.cause == "too_late"
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_waiting_one_is_not_sent_when_its_person_lost_the_right(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer, ada: Person
) -> None:
    deletion = ask(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    ada.groups.clear()
    clock.advance(seconds=8)
    assert worked_off(deletion).outcome == Outcome.NOT_SENT
    assert deletion.cause == "person_lost_right"
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 0


def test_a_waiting_one_that_changed_meanwhile_is_stale(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    sandbox.world.change_connection(
        connection_id=str(deletion.connection_id), connection_types=("audit",)
    )
    clock.advance(seconds=8)
    assert worked_off(deletion).outcome == Outcome.STALE
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 0


def test_a_waiting_one_that_cannot_be_read_waits_on(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer, credential: Credential
) -> None:
    deletion = ask(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    sandbox.world.set_fault(fault=RESET_AFTER_READING, site=credential.site, method="GET")
    clock.advance(seconds=8)
    assert worked_off(deletion).state == State.WAITING
    assert deletion.cause == "listing_failed"
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 0


@pytest.mark.parametrize("fault", [EXECUTES_THEN_RESET, EXECUTES_THEN_500])
def test_a_lost_response_is_unknown_until_two_spaced_listings_agree(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer, fault: object
) -> None:
    deletion = ask(fault)
    assert deletion.state == State.UNKNOWN
    clock.advance(seconds=36)
    assert worked_off(deletion).state == State.UNKNOWN
    clock.advance(seconds=61)
    assert worked_off(deletion).outcome == Outcome.GONE_UNATTRIBUTED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_an_unknown_that_is_still_listed_twice_is_still_present_and_not_sent_again(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(RESET_AFTER_READING)
    sandbox.world.clear_faults()
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        worked_off(deletion)
    assert deletion.state == State.STILL_PRESENT
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_listings_that_disagree_decide_nothing(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(RESET_AFTER_READING)
    sandbox.world.clear_faults()
    clock.advance(seconds=36)
    worked_off(deletion)
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    clock.advance(seconds=61)
    assert worked_off(deletion).state == State.UNKNOWN


def test_a_claim_without_a_response_is_unknown_after_60_s(
    ask: Ask, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        """Stands for the process being gone."""

    def die(**_: object) -> None:
        raise KilledError

    monkeypatch.setattr("connections.deletions.sending._send", die)
    with pytest.raises(KilledError):
        ask()
    deletion = Deletion.objects.get()
    assert (deletion.state, deletion.attempts.get().verdict) == (State.SENDING, "")
    clock.advance(seconds=59)
    assert worked_off(deletion).state == State.SENDING
    clock.advance(seconds=2)
    assert worked_off(deletion).state == State.UNKNOWN
    assert deletion.cause == "answer_lost"


def test_a_200_that_is_still_listed_is_contradicted_after_5_minutes_and_not_before(
    ask: Ask, clock: SettableClock
) -> None:
    deletion = ask(RETURNS_200_WITHOUT_DELETING)
    assert (deletion.outcome, deletion.verified_at) == (Outcome.DELETED, None)
    clock.advance(seconds=61)
    assert worked_off(deletion).contradicted_at is None
    clock.advance(minutes=5)
    assert worked_off(deletion).contradicted_at is not None
    assert deletion.outcome == Outcome.DELETED
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_CONTRADICTED) == 1


def test_a_200_that_is_gone_later_is_verified_then(
    ask: Ask, clock: SettableClock, sandbox: SandboxServer
) -> None:
    deletion = ask(RETURNS_200_WITHOUT_DELETING)
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    clock.advance(seconds=61)
    assert worked_off(deletion).verified_at == clock.at
    assert deletion.due_at is None
