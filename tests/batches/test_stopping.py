"""Pausing, resuming and canceling, and how bulk deletions end by themselves."""

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from pytest_django import Settings

from connections.access.actor import WORKER, person_actor
from connections.batches import endings, stopping
from connections.batches.running import run_due
from connections.core.errors import InvalidInputError, OvertakenError
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Batch,
    BatchState,
    Deletion,
    Notification,
    Outcome,
    Person,
    State,
)
from connections.operations import checks, due_work
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, request
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


@pytest.fixture
def running(ada: Person, make_draft: MakeDraft) -> Batch:
    """A bulk deletion of three rows, confirmed by Ada. Nothing was sent."""
    return request(make_draft(3), ada)


def test_its_requester_and_an_approver_can_pause_it(
    running: Batch, ada: Person, grace: Person, linus: Person
):
    with pytest.raises(PermissionDenied):
        stopping.pause_batch(batch=running, actor=person_actor(person=grace))
    for person in (ada, linus):
        Batch.objects.update(state=BatchState.RUNNING)
        stopping.pause_batch(batch=running, actor=person_actor(person=person))
        assert running.state == BatchState.PAUSED


def test_after_an_hours_pause_resuming_asks_for_the_confirmation_again(
    running: Batch, ada: Person, clock: SettableClock
):
    actor = person_actor(person=ada)
    stopping.pause_batch(batch=running, actor=actor)
    clock.advance(minutes=59)
    stopping.resume_batch(batch=running, actor=actor)
    assert running.state == BatchState.RUNNING
    stopping.pause_batch(batch=running, actor=actor)
    clock.advance(hours=1)
    with pytest.raises(InvalidInputError, match="Type 3"):
        stopping.resume_batch(batch=running, actor=actor)
    stopping.resume_batch(batch=running, actor=actor, confirmation="3")
    assert running.state == BatchState.RUNNING


def test_rows_of_a_paused_one_are_not_overdue(running: Batch, ada: Person, clock: SettableClock):
    stopping.pause_batch(batch=running, actor=person_actor(person=ada))
    clock.advance(minutes=10)
    work = due_work.read_due_work(intervals={"sweep": timedelta(minutes=1)})
    assert not work.has_requests
    [finding] = [check for check in checks.run_all_checks() if check.obj == "worker"]
    assert "Nothing overdue" in finding.msg


@pytest.mark.parametrize("policy", [ApprovalPolicy.NONE, ApprovalPolicy.ONE])
def test_cancelling_withdraws_what_was_not_sent(
    ada: Person, make_draft: MakeDraft, policy: ApprovalPolicy
):
    batch = request(make_draft(2, policy=policy), ada)
    stopping.cancel_batch(batch=batch, actor=person_actor(person=ada))
    assert batch.state == BatchState.CANCELLED
    assert set(batch.deletions.values_list("state", "outcome")) == {
        (State.SETTLED, Outcome.WITHDRAWN)
    }
    assert AuditEvent.objects.filter(code="deletion.withdrawn").count() == 2


def test_discarding_a_draft_is_recorded_as_such_and_notifies_no_one(
    ada: Person, linus: Person, make_draft: MakeDraft, settings: Settings
):
    settings.HAS_MAIL = True
    batch = make_draft(2)
    Notification.objects.all().delete()
    stopping.cancel_batch(batch=batch, actor=person_actor(person=ada))
    event = AuditEvent.objects.latest("seq")
    assert event.code == "batch.discarded"
    assert event.sentence == "Ada discarded the draft of a bulk deletion of 2 connections."
    assert not Notification.objects.exists()


def test_what_has_ended_can_not_be_cancelled(running: Batch, ada: Person):
    Deletion.objects.update(state=State.UNKNOWN, approval_round=2)
    endings.end_due(actor=WORKER)
    running.refresh_from_db()
    with pytest.raises(OvertakenError, match="already ended"):
        stopping.cancel_batch(batch=running, actor=person_actor(person=ada))


@pytest.mark.parametrize("policy", [ApprovalPolicy.ONE, ApprovalPolicy.TWO])
def test_a_plan_that_is_not_decided_or_confirmed_in_24_hours_expires(
    ada: Person, linus: Person, make_draft: MakeDraft, clock: SettableClock, policy: ApprovalPolicy
):
    batch = approve(request(make_draft(2, policy=policy), ada), linus)
    assert endings.end_due(actor=WORKER) == []
    clock.advance(hours=24)
    run_due(actor=WORKER)
    batch.refresh_from_db()
    assert batch.state == BatchState.EXPIRED
    event = AuditEvent.objects.get(code="batch.expired")
    assert "bulk deletion of 2 connections" in event.sentence
    assert set(batch.deletions.values_list("outcome", flat=True)) == {Outcome.EXPIRED}


def test_a_draft_expires_after_24_hours(make_draft: MakeDraft, clock: SettableClock):
    batch = make_draft(1)
    clock.advance(hours=24)
    endings.end_due(actor=WORKER)
    batch.refresh_from_db()
    assert batch.state == BatchState.EXPIRED


def test_it_has_finished_when_no_row_waits_to_be_sent(running: Batch):
    assert endings.end_due(actor=WORKER) == []
    Deletion.objects.update(state=State.UNKNOWN, approval_round=2)
    assert endings.end_due(actor=WORKER) == [running]
    running.refresh_from_db()
    assert running.state == BatchState.FINISHED
