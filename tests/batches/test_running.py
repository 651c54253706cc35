"""The worker sends the rows of a running bulk deletion once each, and stops when it should."""

import json
import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError

from connections import audit
from connections.access.actor import WORKER, Actor, person_actor
from connections.batches import drafts, endings, progress, running, stopping
from connections.batches.texts import batch_headline
from connections.change_requests import lifecycle, recording, sending
from connections.change_requests.failpoints import Point
from connections.change_requests.sending import ClaimedAttempt
from connections.core.causes import Cause
from connections.core.logs import JsonFormatter
from connections.datadog.responses import WriteResponse
from connections.inventory import protections, rate_limits
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Attempt,
    AuditEvent,
    Batch,
    BatchState,
    Credential,
    CredentialAccess,
    Deletion,
    OrgConnectionKey,
    Outcome,
    Person,
    State,
    Sync,
)
from connections.operations import due
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, execute, low_limit, request
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


@pytest.fixture
def running_batch(ada: Person, make_draft: MakeDraft, clock: SettableClock) -> Batch:
    """A bulk deletion of ten rows, confirmed by Ada. Nothing was sent."""
    batch = request(make_draft(10), ada)
    clock.advance(seconds=1)
    return batch


def run(batch: Batch) -> Batch:
    running.run_due(actor=WORKER)
    batch.refresh_from_db()
    return batch


def outcomes(batch: Batch) -> set[tuple[str, str]]:
    return set(batch.deletions.values_list("state", "outcome"))


def test_every_row_is_checked_sent_once_and_verified(
    ada: Person, linus: Person, make_draft: MakeDraft, clock: SettableClock, sandbox: SandboxServer
):
    batch = request(make_draft(10, policy=ApprovalPolicy.ONE), ada)
    execute(approve(batch, linus), ada)
    clock.advance(seconds=1)
    assert run(batch).state == BatchState.FINISHED
    assert outcomes(batch) == {(State.SETTLED, Outcome.DELETED)}
    assert len(sandbox.world.requests(method="DELETE")) == 10
    assert set(Attempt.objects.values_list("was_rechecked", flat=True)) == {True}
    clock.advance(seconds=1)
    run(batch)
    assert not batch.deletions.filter(verified_at=None).exists()


def test_rows_of_one_credential_share_their_check_and_their_verification(
    running_batch: Batch, clock: SettableClock
):
    before = Sync.objects.count()
    run(running_batch)
    clock.advance(seconds=1)
    run(running_batch)
    assert Sync.objects.count() - before == 2


def test_a_stale_refused_or_unknown_row_stops_no_other(
    running_batch: Batch, sandbox: SandboxServer
):
    refused, unknown, gone = running_batch.rows.all()[:3]
    world = sandbox.world
    world.set_fault(fault=faults.RETURNS_403, connection_id=str(refused.connection_id))
    world.set_fault(fault=faults.RETURNS_500, connection_id=str(unknown.connection_id))
    world.remove_connection(connection_id=str(gone.connection_id))
    assert run(running_batch).state == BatchState.FINISHED
    found = [
        deletion.outcome or deletion.state
        for deletion in running_batch.deletions.order_by("batch_row")
    ]
    assert found == [
        *(Outcome.REFUSED, State.UNKNOWN, Outcome.ALREADY_ABSENT),
        *[Outcome.DELETED] * 7,
    ]


def headline(batch: Batch) -> str:
    """What its page says first while it is paused."""
    return batch_headline(batch, given=0, sending=0, has_expired=False)


def test_it_stops_at_the_first_problem_where_that_was_chosen(
    ada: Person, make_draft: MakeDraft, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    batch = request(make_draft(5), ada, stop_at_first_problem=True)
    second = batch.rows.get(position=2)
    sandbox.world.set_fault(fault=faults.RETURNS_400, connection_id=str(second.connection_id))
    assert run(batch).state == BatchState.PAUSED
    assert len(sandbox.world.requests(method="DELETE")) == 2
    assert batch.pause_cause == Cause.BAD_REQUEST
    assert headline(batch) == "Paused by Org Admin after a problem with Payments US"


def protect(row: Deletion, person: Person) -> None:
    """Protect the connection of a confirmed row."""
    key = OrgConnectionKey(site=row.site, connection_id=row.connection_id)
    protections.protect_connection(actor=person_actor(person=person), key=key, reason="In use.")


@pytest.mark.parametrize("problem", ["protected", "changed"])
def test_no_row_after_a_problem_before_its_claim_is_sent_where_the_first_problem_pauses_it(
    ada: Person, grace: Person, make_draft: MakeDraft, sandbox: SandboxServer, problem: str
):
    batch = request(make_draft(10), ada, stop_at_first_problem=True)
    row = batch.deletions.get(batch_row__position=2)
    if problem == "protected":
        protect(row, grace)
    else:
        connection_id = str(row.connection_id)
        sandbox.world.change_connection(connection_id=connection_id, connection_types=("audit",))
    assert run(batch).state == BatchState.PAUSED
    assert len(sandbox.world.requests(method="DELETE")) == 1


def test_a_blocked_row_that_can_not_be_recorded_keeps_no_claimed_row_from_being_sent(
    running_batch: Batch, grace: Person, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    def fail(**_: object) -> None:
        raise OperationalError("deadlock detected")

    protect(running_batch.deletions.get(batch_row__position=2), grace)
    monkeypatch.setattr(sending, "record_blocked", fail)
    run(running_batch)
    assert len(sandbox.world.requests(method="DELETE")) == 9
    assert not running_batch.deletions.filter(state=State.SENDING).exists()


def test_a_row_that_another_worker_claims_first_is_not_sent_again(
    running_batch: Batch, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    first, *_, last = running_batch.deletions.order_by("batch_row__position")[:4]

    def claim_elsewhere(point: Point, *, change_request_id: UUID) -> None:
        if point == Point.BEFORE_CLAIM and change_request_id == first.pk:
            sending.claim([last], actor=WORKER, was_rechecked=True)

    monkeypatch.setattr("connections.change_requests.failpoints.hit", claim_elsewhere)
    run(running_batch)
    assert last.attempts.count() == 1
    assert sandbox.world.deletes_received(str(last.connection_id)) == 0


@pytest.mark.parametrize(
    "fault",
    [faults.RETURNS_401, faults.RETURNS_403, faults.RETURNS_503, faults.EXECUTES_THEN_RESET],
)
def test_three_problems_in_a_row_from_one_credential_pause_it(
    running_batch: Batch,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: faults.Fault,
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    sandbox.world.set_fault(fault=fault, method="DELETE")
    paused = run(running_batch)
    assert paused.state == BatchState.PAUSED
    assert len(sandbox.world.requests(method="DELETE")) == 3
    assert paused.pause_cause == Deletion.objects.exclude(cause="").values_list("cause")[0][0]
    assert headline(paused) == "Paused by Org Admin after problems with Payments US"
    assert AuditEvent.objects.filter(code="batch.paused").count() == 1


def test_a_success_between_problems_begins_a_new_count(
    running_batch: Batch, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    for row in running_batch.rows.exclude(position__in=[3, 6, 9]):
        sandbox.world.set_fault(
            fault=faults.RETURNS_403, connection_id=str(row.connection_id), method="DELETE"
        )
    assert run(running_batch).state == BatchState.FINISHED


def test_failed_checks_pause_it_and_are_made_again_on_resuming(
    running_batch: Batch, ada: Person, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.RETURNS_503, method="GET")
    assert run(running_batch).state == BatchState.PAUSED
    assert running_batch.pause_cause == Cause.LISTING_FAILED
    assert not Attempt.objects.exists()
    sandbox.world.clear_faults()
    clock.advance(minutes=2)
    stopping.resume_batch(batch=running_batch, actor=person_actor(person=ada))
    assert run(running_batch).state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


def test_a_429_on_the_pre_send_check_is_no_problem_and_asks_the_org_nothing_more(
    ada: Person, make_draft: MakeDraft, sandbox: SandboxServer, clock: SettableClock
):
    running_batch = request(make_draft(10), ada, stop_at_first_problem=True)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="GET")
    syncs = Sync.objects.count()
    assert run(running_batch).state == BatchState.RUNNING
    assert Sync.objects.count() == syncs + 1
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    assert run(running_batch).state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


def test_after_the_pause_no_other_row_is_checked(running_batch: Batch, sandbox: SandboxServer):
    sandbox.world.set_fault(fault=faults.RETURNS_401, method="GET")
    assert run(running_batch).state == BatchState.PAUSED
    failed = AuditEvent.objects.filter(code="deletion.recheck_failed")
    assert failed.count() == stopping.MAX_PROBLEMS_IN_A_ROW


def test_a_claim_lost_to_another_worker_ends_no_count_of_problems(
    running_batch: Batch, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "PARALLEL_DELETES", 1)
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    taken = running_batch.deletions.get(batch_row__position=3)
    # The claim by the other worker passes this point as well.
    takers: list[UUID] = []

    def take(point: Point, *, change_request_id: UUID) -> None:
        if point == Point.BEFORE_CLAIM and change_request_id == taken.pk and not takers:
            takers.append(change_request_id)
            sending.claim([taken], actor=WORKER, was_rechecked=True)

    monkeypatch.setattr("connections.change_requests.failpoints.hit", take)
    assert run(running_batch).state == BatchState.PAUSED
    assert len(sandbox.world.requests(method="DELETE")) == 3


def test_a_row_of_a_killed_worker_pauses_it_where_the_first_problem_does(
    ada: Person, make_draft: MakeDraft, clock: SettableClock, sandbox: SandboxServer
):
    batch = request(make_draft(3), ada, stop_at_first_problem=True)
    clock.advance(seconds=1)
    row = batch.deletions.order_by("batch_row")[0]
    assert sending.claim([row], actor=WORKER, was_rechecked=True)
    clock.advance(seconds=61)
    run(batch)
    due.run_due(actor=WORKER, limit=100)
    assert run(batch).state == BatchState.PAUSED
    assert batch.pause_cause == Cause.ANSWER_LOST
    assert not sandbox.world.requests(method="DELETE")
    clock.advance(seconds=1)
    stopping.resume_batch(batch=batch, actor=person_actor(person=ada))
    assert run(batch).state == BatchState.FINISHED


def test_a_row_that_can_not_be_handled_stops_no_other(
    running_batch: Batch,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    # Claimed with others, because the first row makes the check that they share.
    second = running_batch.deletions.get(batch_row__position=2)

    tries: list[UUID] = []

    def fail(point: Point, *, change_request_id: UUID) -> None:
        if point == Point.BEFORE_CLAIM and change_request_id == second.pk and len(tries) < 2:
            tries.append(change_request_id)
            raise ValueError("unexpected")

    monkeypatch.setattr("connections.change_requests.failpoints.hit", fail)
    caplog.handler.setFormatter(JsonFormatter())
    assert running.run_due(actor=WORKER) == 10
    assert running_batch.deletions.filter(outcome=Outcome.DELETED).count() == 9
    record = json.loads(caplog.text.splitlines()[-1])
    assert (record["deletion"], record["batch"]) == (str(second.pk), str(running_batch.pk))
    clock.advance(seconds=running.POSTPONED_FOR.total_seconds())
    assert run(running_batch).state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


def test_a_thread_that_fails_loses_no_other_response_and_stops_no_other_work(
    running_batch: Batch, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    first = running_batch.deletions.order_by("batch_row")[0]
    send_claimed = sending.send_claimed

    def fail(claimed: ClaimedAttempt) -> WriteResponse:
        if claimed.attempt.change_request_id == first.pk:
            raise RuntimeError("can't start new thread")
        return send_claimed(claimed)

    monkeypatch.setattr(sending, "send_claimed", fail)
    ended: list[Actor] = []

    def end_due(*, actor: Actor, **_: object) -> list[Batch]:
        ended.append(actor)
        return []

    monkeypatch.setattr(endings, "end_due", end_due)
    with pytest.raises(RuntimeError):
        running.run_due(actor=WORKER)
    sent = len(sandbox.world.requests(method="DELETE"))
    assert running_batch.deletions.filter(outcome=Outcome.DELETED).count() == sent
    assert ended


def test_a_slow_response_keeps_no_other_row_from_being_sent(
    running_batch: Batch, monkeypatch: pytest.MonkeyPatch
):
    first = running_batch.deletions.order_by("batch_row")[0]
    send_claimed, others = sending.send_claimed, threading.Semaphore(0)
    was_sent: list[bool] = []

    def send(claimed: ClaimedAttempt) -> WriteResponse:
        if claimed.attempt.change_request_id == first.pk:
            was_sent.extend(others.acquire(timeout=5) for _ in range(9))
        else:
            others.release()
        return send_claimed(claimed)

    monkeypatch.setattr(sending, "send_claimed", send)
    assert run(running_batch).state == BatchState.FINISHED
    assert was_sent == [True] * 9


def test_a_row_is_not_claimed_when_its_shared_check_grew_old_during_the_claim(
    running_batch: Batch, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    second = running_batch.deletions.get(batch_row__position=2)
    was_late = False

    def wait(point: Point, *, change_request_id: UUID) -> None:
        nonlocal was_late
        if point == Point.BEFORE_CLAIM and change_request_id == second.pk and not was_late:
            was_late = True
            clock.advance(seconds=11)

    monkeypatch.setattr("connections.change_requests.failpoints.hit", wait)
    running.send_due(actor=WORKER)
    assert was_late
    newest = Sync.objects.order_by("-started_at")[0]
    assert second.attempts.get().claimed_at - newest.started_at <= timedelta(seconds=10)


def test_a_row_is_not_claimed_when_its_own_list_grew_old(
    running_batch: Batch, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    first = running_batch.deletions.get(batch_row__position=1)
    waits = 0

    def wait(point: Point, *, change_request_id: UUID) -> None:
        nonlocal waits
        if point == Point.BEFORE_CLAIM and change_request_id == first.pk:
            waits += 1
            clock.advance(seconds=11)

    monkeypatch.setattr("connections.change_requests.failpoints.hit", wait)
    running.send_due(actor=WORKER)
    first.refresh_from_db()
    assert (first.state, first.epoch, waits) == (State.WAITING, 0, 2)
    assert first.cause_details["cause"] == Cause.LIST_TOO_SLOW
    assert running_batch.deletions.filter(outcome=Outcome.DELETED).count() == 9


def test_rows_of_a_paused_bulk_deletion_are_not_sent(
    running_batch: Batch, ada: Person, sandbox: SandboxServer, clock: SettableClock
):
    stopping.pause_batch(batch=running_batch, actor=person_actor(person=ada))
    due.run_due(actor=WORKER, limit=100)
    run(running_batch)
    assert not sandbox.world.requests(method="DELETE")
    assert outcomes(running_batch) == {(State.WAITING, "")}


def test_a_pause_after_the_check_stops_the_claim(
    running_batch: Batch,
    ada: Person,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def pause(point: Point, **_: Any) -> None:
        if point == Point.BEFORE_CLAIM:
            stopping.pause_batch(batch=running_batch, actor=person_actor(person=ada))

    monkeypatch.setattr("connections.change_requests.failpoints.hit", pause)
    run(running_batch)
    assert not sandbox.world.requests(method="DELETE")
    # A claim that only the database refuses is logged as an error.
    assert not caplog.records


def test_after_a_429_the_org_is_left_alone_and_the_rows_sent_later(
    running_batch: Batch, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    run(running_batch)
    assert len(sandbox.world.requests(method="DELETE")) <= running.PARALLEL_DELETES
    sandbox.world.clear_faults()
    clock.advance(seconds=8)
    assert run(running_batch).state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


def test_rows_are_sent_after_a_reset_later_than_their_15_minutes(
    running_batch: Batch, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.rate_limited(reset="3600"), method="DELETE")
    run(running_batch)
    attempted = running_batch.deletions.filter(epoch=1)
    assert {each.expires_at for each in attempted} == {clock.now() + timedelta(hours=1, minutes=15)}
    sandbox.world.clear_faults()
    clock.advance(minutes=59)
    run(running_batch)
    clock.advance(minutes=1)
    assert run(running_batch).state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


def hold_back(credential: Credential, *, at: datetime) -> None:
    """Record that a response to another row said that the org's rate limit resets in an hour."""
    rate_limits.record(
        site=credential.site, org_id=credential.org_id, rate_limits=[low_limit(3600)], now=at
    )


@pytest.mark.database
@pytest.mark.parametrize("minutes", [(20, 39, 2), (61,)], ids=["worker ran", "worker was stopped"])
def test_an_attempted_row_waits_for_a_reset_that_another_response_moved(
    running_batch: Batch,
    payments: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
    minutes: tuple[int, ...],
):
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    run(running_batch)
    assert running_batch.deletions.filter(epoch=1).exists()
    sandbox.world.clear_faults()
    hold_back(payments, at=clock.now())
    for minute in minutes:
        clock.advance(minutes=minute)
        run(running_batch)
    assert running_batch.state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


@pytest.mark.database
def test_an_attempted_row_waits_for_a_moved_reset_until_24_hours_after_the_confirmation(
    running_batch: Batch, payments: Credential, sandbox: SandboxServer, clock: SettableClock
):
    clock.advance(hours=22, minutes=50)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    run(running_batch)
    tried = running_batch.deletions.filter(epoch=1)
    hold_back(payments, at=clock.now())
    sandbox.world.clear_faults()
    # The reset is 10 minutes before the 24 hours are over, so 15 minutes after it is too late.
    clock.advance(minutes=59)
    run(running_batch)
    assert {each.expires_at for each in tried} == {
        each.confirmed_at + timedelta(hours=24) for each in tried if each.confirmed_at
    }
    clock.advance(minutes=2)
    assert run(running_batch).state == BatchState.FINISHED
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.DELETED)}


def test_a_row_whose_time_was_over_before_a_limit_was_low_is_not_sent(
    running_batch: Batch, payments: Credential, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    run(running_batch)
    tried = list(running_batch.deletions.filter(epoch=1))
    sandbox.world.clear_faults()
    # No worker runs for 5 hours. Then a sync finds the limit of the org low.
    clock.advance(hours=5)
    hold_back(payments, at=clock.now())
    clock.advance(minutes=61)
    run(running_batch)
    assert {sandbox.world.deletes_received(str(each.connection_id)) for each in tried} == {1}


def test_a_row_that_another_worker_extended_since_it_was_read_does_not_expire(
    running_batch: Batch, payments: Credential, sandbox: SandboxServer, clock: SettableClock
):
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="DELETE")
    run(running_batch)
    row = running_batch.deletions.filter(epoch=1)[0]
    hold_back(payments, at=clock.now())
    run(running_batch)
    clock.advance(minutes=20)
    assert not lifecycle.expire(change_request=row, actor=WORKER)


def test_a_429_extends_no_row_beyond_24_hours_after_the_confirmation(
    running_batch: Batch, sandbox: SandboxServer, clock: SettableClock
):
    clock.advance(hours=23, minutes=30)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="3600"), method="DELETE")
    run(running_batch)
    row = running_batch.deletions.filter(epoch=1)[0]
    assert row.confirmed_at
    assert row.expires_at == row.confirmed_at + timedelta(hours=24)


def test_a_row_that_comes_back_after_the_cancellation_is_withdrawn(
    running_batch: Batch, ada: Person, sandbox: SandboxServer
):
    row = running_batch.deletions.order_by("batch_row")[0]
    [claimed] = sending.claim([row], actor=WORKER, was_rechecked=True)
    stopping.cancel_batch(batch=running_batch, actor=person_actor(person=ada))
    sandbox.world.set_fault(fault=faults.rate_limited(), method="DELETE")
    response = sending.send_claimed(claimed)
    recording.record([(claimed.attempt, response)], actor=WORKER)
    run(running_batch)
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.WITHDRAWN)}


def test_a_row_without_an_attempt_ends_24_hours_after_the_confirmation(
    running_batch: Batch, ada: Person, clock: SettableClock
):
    stopping.pause_batch(batch=running_batch, actor=person_actor(person=ada))
    clock.advance(hours=23)
    run(running_batch)
    assert outcomes(running_batch) == {(State.WAITING, "")}
    clock.advance(hours=1)
    run(running_batch)
    assert outcomes(running_batch) == {(State.SETTLED, Outcome.NOT_SENT)}
    assert running_batch.state == BatchState.FINISHED


def test_15_minutes_run_from_the_reset_of_the_rate_limit(
    running_batch: Batch, sandbox: SandboxServer, clock: SettableClock
):
    clock.advance(hours=5)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="300"), method="DELETE")
    run(running_batch)
    row = running_batch.deletions.filter(epoch=1)[0]
    clock.advance(minutes=19)
    assert not lifecycle.expire(change_request=row, actor=WORKER)
    clock.advance(minutes=1)
    assert lifecycle.expire(change_request=row, actor=WORKER)
    assert row.cause == Cause.NOT_RETRIED_IN_TIME
    assert "15 minutes after its first attempt" in audit.events_of(subject=row)[-1].sentence


def test_nothing_more_is_sent_for_a_person_who_lost_permission(
    running_batch: Batch, grace: Person, payments: Credential, sandbox: SandboxServer
):
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.USE, person=grace)
    run(running_batch)
    assert not sandbox.world.requests(method="DELETE")
    assert set(running_batch.deletions.values_list("outcome", "cause")) == {
        (Outcome.NOT_SENT, Cause.PERSON_LOST_RIGHT)
    }


def test_a_row_that_is_protected_meanwhile_is_not_sent(
    running_batch: Batch, grace: Person, sandbox: SandboxServer
):
    row = running_batch.deletions.order_by("batch_row")[0]
    protect(row, grace)
    run(running_batch)
    assert sandbox.world.deletes_received(str(row.connection_id)) == 0
    row.refresh_from_db()
    assert (row.outcome, row.cause) == (Outcome.NOT_SENT, Cause.CONNECTION_PROTECTED)


def test_the_rest_is_planned_again_without_unknown_rows(
    running_batch: Batch, ada: Person, sandbox: SandboxServer
):
    refused, unknown = running_batch.rows.all()[:2]
    world = sandbox.world
    world.set_fault(fault=faults.RETURNS_403, connection_id=str(refused.connection_id))
    world.set_fault(fault=faults.RETURNS_500, connection_id=str(unknown.connection_id))
    run(running_batch)
    rest = drafts.create_draft_of_remaining(batch=running_batch, actor=person_actor(person=ada))
    assert [row.connection_id for row in rest.rows.all()] == [refused.connection_id]


def test_after_resuming_the_time_left_follows_from_the_rate_since(
    running_batch: Batch, ada: Person, clock: SettableClock
):
    first, *rest = running_batch.deletions.order_by("batch_row__position")
    assert sending.claim([first], actor=WORKER, was_rechecked=True)
    clock.advance(minutes=30)
    stopping.pause_batch(batch=running_batch, actor=person_actor(person=ada))
    stopping.resume_batch(batch=running_batch, actor=person_actor(person=ada))
    for deletion in rest[:3]:
        assert progress.get_progress(running_batch).time_left is None
        assert sending.claim([deletion], actor=WORKER, was_rechecked=True)
    clock.advance(seconds=3)
    assert progress.get_progress(running_batch).time_left == timedelta(seconds=6)


def test_the_progress_counts_every_row_once(running_batch: Batch):
    assert progress.get_progress(running_batch).unsent == 10
    run(running_batch)
    found = progress.get_progress(running_batch)
    assert (found.total, found.done, found.by_outcome) == (10, 10, {Outcome.DELETED: 10})
