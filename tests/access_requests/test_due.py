"""Steps of access requests that become due as time passes."""

import json
from uuid import UUID

import pytest
from django.core.management import call_command

from connections import audit
from connections.access.actor import WORKER
from connections.models import (
    AccessOutcome,
    AccessRequest,
    ApprovalPolicy,
    Credential,
    State,
)
from connections.operations import due
from sandbox.faults import EXECUTES_THEN_500, RESET_AFTER_READING, rate_limited
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def run_due(access_request: AccessRequest) -> AccessRequest:
    due.run_due(actor=WORKER)
    access_request.refresh_from_db()
    return access_request


def test_the_worker_sends_again_after_a_rate_limit_and_verifies(
    create: RequestAccess, clock: SettableClock, sandbox: SandboxServer
):
    access_request = create(rate_limited(reset="7"))
    sandbox.world.clear_faults()
    clock.advance(seconds=6)
    assert run_due(access_request).state == State.WAITING
    clock.advance(seconds=2)
    assert run_due(access_request).outcome == AccessOutcome.CREATED
    assert run_due(access_request).verified_at
    assert access_request.due_at is None


def test_the_worker_settles_an_unknown_one_that_two_lists_show(
    create: RequestAccess, clock: SettableClock, sandbox: SandboxServer
):
    access_request = create(EXECUTES_THEN_500)
    sandbox.world.clear_faults()
    clock.advance(seconds=36)
    assert run_due(access_request).state == State.UNKNOWN
    clock.advance(seconds=61)
    assert run_due(access_request).outcome == AccessOutcome.CREATED


def test_a_lost_attempt_becomes_unknown_and_has_no_effect_if_two_lists_agree(
    change: RequestAccess, clock: SettableClock, sandbox: SandboxServer
):
    access_request = change(RESET_AFTER_READING)
    AccessRequest.objects.filter(pk=access_request.pk).update(state=State.SENDING)
    sandbox.world.clear_faults()
    clock.advance(seconds=61)
    assert run_due(access_request).state == State.UNKNOWN
    for _ in range(2):
        clock.advance(seconds=61)
        run_due(access_request)
    assert access_request.state == "no_effect"


def test_what_nobody_approves_expires(
    create: RequestAccess, clock: SettableClock, credential: Credential
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = create()
    assert access_request.state == State.REQUESTED
    clock.advance(hours=24, seconds=1)
    assert run_due(access_request).outcome == AccessOutcome.EXPIRED


def test_an_alarm_is_recorded_once_for_each_attempt(create: RequestAccess, clock: SettableClock):
    access_request = create(RESET_AFTER_READING)
    assert access_request.state == State.UNKNOWN
    clock.advance(minutes=59)
    assert due.raise_alarms(actor=WORKER) == []
    clock.advance(minutes=2)
    assert due.raise_alarms(actor=WORKER) == [access_request]
    assert due.raise_alarms(actor=WORKER) == []
    codes = [event.code for event in audit.events_of(subject=access_request)]
    assert codes.count(audit.EventCode.ACCESS_REQUEST_STILL_UNKNOWN) == 1


def test_reconcile_deletions_checks_access_requests_too(
    create: RequestAccess,
    clock: SettableClock,
    sandbox: SandboxServer,
    capsys: pytest.CaptureFixture[str],
):
    access_request = create(EXECUTES_THEN_500)
    sandbox.world.clear_faults()
    clock.advance(seconds=36)
    with pytest.raises(SystemExit) as stopped:
        call_command("reconcile_deletions")
    assert stopped.value.code == 6
    assert capsys.readouterr().out.splitlines() == [
        f"{access_request.pk}  Unknown  Payments US → Group SOC",
        "Unknown: 1.",
    ]
    clock.advance(seconds=61)
    call_command("reconcile_deletions", "--json")
    document = json.loads(capsys.readouterr().out)
    assert (document["deletions"], document["unknown"]) == ([], 0)
    [row] = document["access_requests"]
    assert (UUID(row["id"]), row["outcome"]) == (access_request.pk, "created")
    assert row["url"] == f"/access-requests/{access_request.pk}/"
