"""Deletion steps that become due as time passes."""

import json
import logging
from datetime import timedelta
from uuid import uuid4

import pytest

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.change_requests import sending
from connections.change_requests.sending import ClaimedAttempt
from connections.core.logs import JsonFormatter
from connections.models import (
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    Person,
    State,
)
from connections.operations import due
from sandbox.faults import (
    EXECUTES_THEN_500,
    EXECUTES_THEN_RESET,
    RESET_AFTER_READING,
    RETURNS_200_WITHOUT_DELETING,
    RETURNS_403,
    rate_limited,
)
from sandbox.server import SandboxServer
from tests.deletions.conftest import RequestDeletion
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]


def run_due(deletion: Deletion) -> Deletion:
    due.run_due(actor=WORKER)
    deletion.refresh_from_db()
    return deletion


def test_nothing_is_due_before_its_time(make_deletion: RequestDeletion, clock: SettableClock):
    deletion = make_deletion(rate_limited(reset="7"))
    clock.advance(seconds=6)
    assert due.run_due(actor=WORKER) == []
    assert deletion.state == State.WAITING


def test_the_record_of_an_error_says_which_deletion_it_is_about(
    make_deletion: RequestDeletion, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    deletion = make_deletion(rate_limited(reset="7"))
    clock.advance(seconds=8)

    def fail(**_: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(sending, "send", fail)
    with pytest.raises(RuntimeError) as caught:
        due.run_due(actor=WORKER)
    # Logged by the worker, which doesn't know the deletion.
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed", (), caught._excinfo)
    assert json.loads(JsonFormatter().format(record))["deletion"] == str(deletion.pk)


def test_a_waiting_deletion_is_sent_at_the_time_datadog_gave(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    assert run_due(deletion).outcome == Outcome.DELETED
    assert deletion.attempts.count() == 2
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 2
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 1


def test_waiting_longer_than_15_minutes_ends_with_nothing_sent(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(rate_limited(reset="300"))
    due_at_the_same_time = Deletion.objects.get()
    due_at_the_same_time.pk = due_at_the_same_time.request_id = uuid4()
    due_at_the_same_time.connection_id = uuid4()
    due_at_the_same_time.save(force_insert=True)
    clock.advance(minutes=16)
    assert run_due(deletion).outcome == Outcome.NOT_SENT
    assert not Deletion.objects.exclude(outcome=Outcome.NOT_SENT).exists()
    assert deletion.cause == "too_late"
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_waiting_deletion_is_not_sent_after_its_requester_lost_the_permission(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer, ada: Person
):
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    ada.groups.clear()
    clock.advance(seconds=8)
    assert run_due(deletion).outcome == Outcome.NOT_SENT
    assert deletion.cause == "person_lost_right"
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 0


def test_a_waiting_deletion_of_a_changed_connection_is_stale(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    sandbox.world.change_connection(
        connection_id=str(deletion.connection_id), connection_types=("audit",)
    )
    clock.advance(seconds=8)
    assert run_due(deletion).outcome == Outcome.STALE
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 0


def test_a_waiting_deletion_keeps_waiting_when_the_sync_fails(
    make_deletion: RequestDeletion,
    clock: SettableClock,
    sandbox: SandboxServer,
    credential: Credential,
):
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    sandbox.world.set_fault(fault=RESET_AFTER_READING, site=credential.site, method="GET")
    clock.advance(seconds=8)
    assert run_due(deletion).state == State.WAITING
    assert deletion.cause == "listing_failed"
    assert sandbox.world.deletes_executed(str(deletion.connection_id)) == 0


@pytest.mark.parametrize("fault", [EXECUTES_THEN_RESET, EXECUTES_THEN_500])
def test_a_lost_response_is_unknown_until_two_spaced_syncs_agree(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer, fault: object
):
    deletion = make_deletion(fault)
    assert deletion.state == State.UNKNOWN
    clock.advance(seconds=36)
    assert run_due(deletion).state == State.UNKNOWN
    clock.advance(seconds=61)
    assert run_due(deletion).outcome == Outcome.GONE_UNATTRIBUTED
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_an_unknown_deletion_listed_twice_is_still_present_and_not_sent_again(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(RESET_AFTER_READING)
    sandbox.world.clear_faults()
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        run_due(deletion)
    assert deletion.state == State.STILL_PRESENT
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_syncs_that_disagree_settle_nothing(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(RESET_AFTER_READING)
    sandbox.world.clear_faults()
    clock.advance(seconds=36)
    run_due(deletion)
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    clock.advance(seconds=61)
    assert run_due(deletion).state == State.UNKNOWN


def test_a_claim_without_a_response_is_unknown_after_60_s(
    make_deletion: RequestDeletion, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    class KilledError(Exception):
        """Simulates a killed process."""

    def die(_: ClaimedAttempt) -> None:
        raise KilledError

    monkeypatch.setattr("connections.change_requests.sending.send_claimed", die)
    with pytest.raises(KilledError):
        make_deletion()
    deletion = Deletion.objects.get()
    assert (deletion.state, deletion.attempts.get().verdict) == (State.SENDING, "")
    clock.advance(seconds=59)
    assert run_due(deletion).state == State.SENDING
    clock.advance(seconds=2)
    assert run_due(deletion).state == State.UNKNOWN
    assert deletion.cause == "answer_lost"


def test_what_changed_since_it_was_found_due_is_left_alone(
    make_deletion: RequestDeletion,
    ada: Person,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    sandbox: SandboxServer,
):
    deletion = make_deletion(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    [found] = due.list_due(now=clock.at)
    # Another process claims it, and its worker is killed before it postpones anything.
    assert sending.claim([deletion], actor=person_actor(person=ada), was_rechecked=True)
    Deletion.objects.filter(pk=deletion.pk).update(due_at=found.due_at)
    monkeypatch.setattr(due, "list_due", lambda **_: [found])
    assert due.run_due(actor=WORKER) == []
    assert sandbox.world.deletes_received(str(deletion.connection_id)) == 1


def test_a_200_that_is_still_listed_is_contradicted_after_5_minutes_and_not_before(
    make_deletion: RequestDeletion, clock: SettableClock
):
    deletion = make_deletion(RETURNS_200_WITHOUT_DELETING)
    assert (deletion.outcome, deletion.verified_at) == (Outcome.DELETED, None)
    clock.advance(seconds=61)
    assert run_due(deletion).contradicted_at is None
    clock.advance(minutes=5)
    assert run_due(deletion).contradicted_at is not None
    assert deletion.outcome == Outcome.DELETED
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_CONTRADICTED) == 1


def test_a_200_is_verified_once_the_connection_is_no_longer_listed(
    make_deletion: RequestDeletion, clock: SettableClock, sandbox: SandboxServer
):
    deletion = make_deletion(RETURNS_200_WITHOUT_DELETING)
    sandbox.world.remove_connection(connection_id=str(deletion.connection_id))
    clock.advance(seconds=61)
    assert run_due(deletion).verified_at == clock.at
    assert deletion.due_at is None


def test_a_refused_deletion_is_not_contradicted_by_a_listing(make_deletion: RequestDeletion):
    deletion = make_deletion(RETURNS_403)
    assert deletion.outcome == Outcome.REFUSED
    due.run_request(change_request=deletion, actor=WORKER)
    deletion.refresh_from_db()
    assert (deletion.contradicted_at, deletion.last_checked_at) == (None, None)


def test_verifying_a_deletion_ends_every_snapshot_even_one_from_before_the_clock_was_set_back(
    make_deletion: RequestDeletion, clock: SettableClock
):
    deletion = make_deletion()
    retired = Credential.objects.get(pk=deletion.credential_id)
    retired.pk, retired.name, retired.fingerprint = uuid4(), "Retired", "f" * 12
    retired.retired_at = clock.now()
    retired.save(force_insert=True)
    ahead = OrgConnectionSnapshot.objects.filter(connection_id=deletion.connection_id)[0]
    ahead.pk, ahead.credential, ahead.is_current = None, retired, True
    ahead.last_seen_at = clock.now() + timedelta(hours=1)
    ahead.save(force_insert=True)
    clock.advance(seconds=61)
    assert run_due(deletion).verified_at
    current = OrgConnectionSnapshot.objects.filter(is_current=True)
    assert not current.filter(connection_id=deletion.connection_id).exists()
